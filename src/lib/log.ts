import type { Logger } from "pino";

export type Warn = (error: unknown, message: string, details?: object) => void;

/**
 * Warns of faults that come to many at once: the database is away, and every batch and every join fails. Of the same message and code
 * one line is written, then at most one in `everyMs`, which says how many others there were since.
 */
export function sparing(log: Pick<Logger, "warn">, everyMs = 10_000, now: () => number = Date.now): Warn {
  const said = new Map<string, { at: number; unsaid: number }>();
  return (error, message, details = {}) => {
    const { code = "" } = (typeof error === "object" && error !== null ? error : {}) as { code?: unknown };
    const kind = `${message} ${code}`;
    const before = said.get(kind);
    if (before !== undefined && now() - before.at < everyMs) {
      before.unsaid += 1;
      return;
    }
    said.set(kind, { at: now(), unsaid: 0 });
    log.warn(
      { ...details, err: error, ...(before !== undefined && before.unsaid > 0 && { others: before.unsaid }) },
      message,
    );
  };
}
