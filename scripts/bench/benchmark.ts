export interface BenchmarkOptions {
  /** Paired rounds, the median of which counts. */
  rounds: number;
  /** How long each of them takes. */
  seconds: number;
  /** A part of the name of the rows that are wanted, where a benchmark can be asked for some; everything when not given. */
  only?: string | undefined;
  print(line: string): void;
}

export interface Benchmark {
  summary: string;
  run(options: BenchmarkOptions): Promise<void>;
}
