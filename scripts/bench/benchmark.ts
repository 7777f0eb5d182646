export interface BenchmarkOptions {
  /** Paired rounds, the median of which counts. */
  rounds: number;
  /** How long each of them takes. */
  seconds: number;
  /** Of the documents only the rows of applyPatch. */
  onlyPatches: boolean;
  print(line: string): void;
}

export interface Benchmark {
  summary: string;
  run(options: BenchmarkOptions): Promise<void>;
}
