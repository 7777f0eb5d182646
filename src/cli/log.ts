import { type Logger, pino } from "pino";
import { loggedError } from "../gateway/index.js";

interface Line {
  level: number;
  msg?: string;
  err?: { message?: string };
}

/** The log of a serving process, to standard error: JSON lines, or, on a terminal, lines for people. */
export function createLog(level: string): Logger {
  // A driver's errors carry the parameters of the query, which are content.
  const options = { level, base: null, serializers: { err: loggedError } };
  if (!process.stderr.isTTY) return pino(options, pino.destination({ dest: 2, sync: true }));
  return pino(options, { write: (json: string) => process.stderr.write(readable(json)) });
}

function readable(json: string): string {
  const { level, msg, err } = JSON.parse(json) as Line;
  const word = pino.levels.labels[level] ?? "log";
  return `${word}: ${[msg, err?.message].filter(Boolean).join(": ")}\n`;
}
