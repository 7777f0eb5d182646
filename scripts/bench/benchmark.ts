export interface BenchmarkOptions {
  /** Paired rounds, the median of which counts. */
  rounds: number;
  /** How long each of them takes. */
  seconds: number;
  print(line: string): void;
}

export interface Benchmark {
  summary: string;
  run(options: BenchmarkOptions): Promise<void>;
}
