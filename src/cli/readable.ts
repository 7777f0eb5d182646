import { pino } from "pino";

interface Line extends Record<string, unknown> {
  level: number;
  msg?: string;
  err?: { message?: string };
}

/** A line of a log's JSON for people, on a terminal. What it happened to stands behind what happened: a document, a socket, how often. */
export function readable(json: string): string {
  const { level, time, msg, err, ...about } = JSON.parse(json) as Line;
  const word = pino.levels.labels[level] ?? "log";
  const told = Object.entries(about).map(([name, value]) => `${name} ${said(value)}`);
  const where = told.length === 0 ? "" : ` (${told.join(", ")})`;
  return `${harmless(`${word}: ${[msg, err?.message].filter(Boolean).join(": ")}${where}`)}\n`;
}

const said = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));

/** What clients sent may be among it, and a terminal obeys control characters. */
const harmless = (line: string) =>
  line.replace(/[^\P{Cc}\n\t]/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
