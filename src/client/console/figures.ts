/** Figures in the text format of Prometheus: values by name and labels, as they stand there. */
export type Figures = ReadonlyMap<string, number>;

export function parseFigures(text: string): Figures {
  const found = new Map<string, number>();
  for (const line of text.split("\n")) {
    const [, name, value] = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line) ?? [];
    if (name !== undefined) found.set(name, value === "+Inf" ? Number.POSITIVE_INFINITY : Number(value));
  }
  return found;
}

export interface Sample {
  /** By the server's clock, in milliseconds. */
  readonly at: number;
  readonly figures: Figures;
}

/** The sum of a figure over those of its labels that fit; undefined where there is none. */
export function sum(
  { figures }: Sample,
  name: string,
  fits: (labels: string) => boolean = () => true,
): number | undefined {
  let total: number | undefined;
  for (const [key, value] of figures) {
    if (key !== name && !key.startsWith(`${name}{`)) continue;
    if (fits(key.slice(name.length))) total = (total ?? 0) + value;
  }
  return total;
}

/** How fast a counter grew between two samples, a second; one that went back began anew with its process. */
export function rate(before: Sample, after: Sample, name: string, fits?: (labels: string) => boolean): number | null {
  const [a = 0, b] = [sum(before, name, fits), sum(after, name, fits)];
  const seconds = (after.at - before.at) / 1_000;
  if (b === undefined || seconds <= 0) return null;
  return Math.max(0, b < a ? b : b - a) / seconds;
}

/**
 * A quantile of what a histogram saw between two samples, in its unit: within the bucket it falls into it is taken for even. Null when
 * nothing was seen.
 */
export function quantile(before: Sample, after: Sample, name: string, share: number): number | null {
  const buckets: { readonly bound: number; readonly count: number }[] = [];
  for (const [key, value] of after.figures) {
    const [, bound] = new RegExp(`^${name}_bucket\\{le="([^"]+)"\\}$`).exec(key) ?? [];
    if (bound === undefined) continue;
    const earlier = before.figures.get(key) ?? 0;
    buckets.push({
      bound: bound === "+Inf" ? Number.POSITIVE_INFINITY : Number(bound),
      count: Math.max(0, value - earlier),
    });
  }
  buckets.sort((a, b) => a.bound - b.bound);
  const total = buckets.at(-1)?.count ?? 0;
  if (total === 0) return null;
  const wanted = share * total;
  let below = { bound: 0, count: 0 };
  for (const bucket of buckets) {
    if (bucket.count >= wanted) {
      if (bucket.bound === Number.POSITIVE_INFINITY) return below.bound;
      const within = bucket.count === below.count ? 1 : (wanted - below.count) / (bucket.count - below.count);
      return below.bound + (bucket.bound - below.bound) * within;
    }
    below = bucket;
  }
  return below.bound;
}
