/** Counters and histograms in the text format of Prometheus. Names and labels are fixed in code, so nothing of them is escaped. */

export interface Counter {
  /** Counts one more with these label values. */
  add(...labels: (string | number)[]): void;
  /** Counts so many more. */
  count(more: number, ...labels: (string | number)[]): void;
}

export interface Histogram {
  observe(seconds: number): void;
}

export interface Metrics {
  counter(name: string, help: string, labels: readonly string[]): Counter;
  histogram(name: string, help: string): Histogram;
  /** A value that is read when somebody asks; several with a label; undefined while it is not known. */
  gauge(
    name: string,
    help: string,
    read: () => number | undefined | Readonly<Record<string, number>>,
    label?: string,
  ): void;
  /** The same for one that only ever grows, and that somebody else counts. */
  total(
    name: string,
    help: string,
    read: () => number | undefined | Readonly<Record<string, number>>,
    label?: string,
  ): void;
  /** What several figures are read from, so that it is looked at once each time somebody asks. */
  shared<T>(read: () => T): () => T;
  /** All of it, for `GET /metrics`. */
  text(): string;
}

/** Upper bounds in seconds, from a commit on a fast disk to the patience of a user. */
const bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export function createMetrics(): Metrics {
  const sections: (() => string)[] = [];
  let asked = 0;
  const section = (name: string, type: string, help: string, lines: () => string[]) =>
    sections.push(() => [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines(), ""].join("\n"));

  return {
    counter(name, help, labels) {
      // Without labels it is there from the start, so that its first step is seen as one.
      const counts = new Map<string, number>(labels.length === 0 ? [["", 0]] : []);
      section(name, "counter", help, () => [...counts].map(([values, count]) => `${name}${values} ${count}`));
      const count = (more: number, ...values: (string | number)[]) => {
        const pairs = labels.map((label, index) => `${label}="${values[index]}"`);
        const key = pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
        counts.set(key, (counts.get(key) ?? 0) + more);
      };
      return { add: (...values) => count(1, ...values), count };
    },
    histogram(name, help) {
      const counts = new Float64Array(bounds.length + 1);
      let sum = 0;
      section(name, "histogram", help, () => {
        let below = 0;
        const buckets = [...bounds, "+Inf"].map((bound, index) => {
          below += counts[index] ?? 0;
          return `${name}_bucket{le="${bound}"} ${below}`;
        });
        return [...buckets, `${name}_sum ${sum}`, `${name}_count ${below}`];
      });
      return {
        observe(seconds) {
          sum += seconds;
          let index = 0;
          while (index < bounds.length && seconds > (bounds[index] ?? 0)) index += 1;
          counts[index] = (counts[index] ?? 0) + 1;
        },
      };
    },
    gauge(name, help, read, label) {
      section(name, "gauge", help, () => linesOf(name, read(), label));
    },
    total(name, help, read, label) {
      section(name, "counter", help, () => linesOf(name, read(), label));
    },
    shared(read) {
      let at = -1;
      let value: ReturnType<typeof read>;
      return () => {
        if (at !== asked) value = read();
        at = asked;
        return value;
      };
    },
    text() {
      asked += 1;
      return sections.map((lines) => lines()).join("");
    },
  };
}

function linesOf(name: string, value: number | undefined | Readonly<Record<string, number>>, label?: string): string[] {
  if (value === undefined) return [];
  if (typeof value === "number") return [`${name} ${value}`];
  return Object.entries(value).map(([key, each]) => `${name}{${label}="${key}"} ${each}`);
}
