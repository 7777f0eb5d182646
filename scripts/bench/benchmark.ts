export interface BenchmarkOptions {
  /** Paired rounds, the median of which counts. */
  rounds: number;
  /** How long each of them takes. */
  seconds: number;
  /** Of the documents only the rows of applyPatch. */
  onlyPatches: boolean;
  /** Of those that have parts (shapes, tables) these alone; empty: all. */
  parts: readonly string[];
  print(line: string): void;
  /** Prints a table, and puts it on the page of charts: its first row is the heading, its first column says what the others are figures of. */
  show(rows: readonly (readonly string[])[]): void;
  /** Puts on that page how values are distributed, of each who competed. */
  distribution(title: string, unit: string, values: Readonly<Record<string, readonly number[]>>): void;
}

export interface Benchmark {
  summary: string;
  run(options: BenchmarkOptions): Promise<void>;
}
