import { type Logger, pino } from "pino";
import { loggedError } from "../gateway/index.js";
import { readable } from "./readable.js";

// A driver's errors carry the parameters of the query, which are content.
const serializers = { err: loggedError };

/** The log of a serving process, to standard error: JSON lines, or, on a terminal, lines for people. */
export function createLog(level: string): Logger {
  const options = { level, base: null, serializers };
  if (!process.stderr.isTTY) return pino(options, pino.destination({ dest: 2, sync: true }));
  return pino(options, { write: (json: string) => process.stderr.write(readable(json)) });
}

/** The log of `perch dev`, to standard error: lines for people, with a time, wherever they go; colours on a terminal only. */
export async function createReadableLog(level: string): Promise<Logger> {
  // Forty files, of which a server that writes JSON needs none.
  const { pinoPretty } = await import("./pretty.js");
  return pino({ level, base: null, serializers }, pinoPretty(process.stderr.isTTY === true));
}
