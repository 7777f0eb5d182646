/**
 * Settings of a process: tables of name, type, default, bounds and help, and the one reader of them. A table stands in the folder it
 * belongs to; a setting is one row of it:
 *
 *   maxSockets: count(50_000).describe("open sockets"),
 *
 * Its environment variable is PERCH_ and the name (PERCH_MAX_SOCKETS). --help and the pages of docs/ that list settings are made
 * from the row.
 */
import { z } from "zod";

export type SettingTable = Readonly<Record<string, z.ZodType>>;
export type SettingsOf<Table extends SettingTable> = z.output<z.ZodObject<Table>>;
export type Environment = Readonly<Record<string, string | undefined>>;

export interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

/** Beyond it a timer of Node fires at once, instead of never. */
const longestTimerMs = 2 ** 31 - 1;

/** A whole number, from 1 unless `min` says otherwise. */
export const count = (fallback: number, { min = 1, max = Number.MAX_SAFE_INTEGER }: Bounds = {}) =>
  z.coerce.number().int().min(min).max(max).default(fallback);
export const countOrNone = (fallback: number) => count(fallback, { min: 0 });
/** A time to wait. */
export const milliseconds = (fallback: number, { min = 1, max = longestTimerMs }: Bounds = {}) =>
  count(fallback, { min, max });
/** Texts by commas. */
export const list = z
  .string()
  .transform((text) => text.split(",").flatMap((item) => item.trim() || []))
  .refine((items) => items.length > 0, "nothing is between the commas");
export const flag = z
  .enum(["true", "false", "1", "0"])
  .default("false")
  .transform((text) => text === "true" || text === "1");

/** The environment variable of a setting: `jwksUrl` is PERCH_JWKS_URL. */
export function variableOf(name: string): string {
  return `PERCH_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** Settings that are wrong; the message names every one of them. */
export class SettingsError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`wrong settings: ${problems.join("; ")}`);
    this.name = "SettingsError";
    this.problems = problems;
  }
}

/**
 * Reads the settings of a table from the environment. An empty variable is wrong, not unset: where a secret should have come from and
 * did not, going on without it would be worse than not starting. Throws SettingsError.
 */
export function readSettings<Table extends SettingTable>(table: Table, env: Environment): SettingsOf<Table> {
  const given = Object.fromEntries(Object.keys(table).map((name) => [name, env[variableOf(name)]]));
  const empty = Object.keys(table).filter((name) => given[name] === "");
  const { data, error } = z.object(table).safeParse(given);
  const problems = [
    ...empty.map((name) => emptyVariable(variableOf(name))),
    ...(error?.issues ?? [])
      .filter(({ path }) => !empty.includes(String(path[0])))
      .map(({ path, message }) => {
        const name = variableOf(String(path[0]));
        return `${name}: ${message}${isServiceLink(name, given[String(path[0])] ?? "") ? serviceLinkHint : ""}`;
      }),
  ];
  if (data === undefined || problems.length > 0) throw new SettingsError(problems);
  return data as SettingsOf<Table>;
}

const emptyVariable = (name: string) => `${name} is empty; give it a value or unset it`;

export interface SettingDescription {
  /** The environment variable. */
  readonly name: string;
  readonly description: string;
  /** Undefined when there is none. */
  readonly fallback: string | undefined;
  /** What a value may be, as "2 to 1000"; undefined where any will do. */
  readonly bounds: string | undefined;
}

/** The rows of a table, for `--help` and the documentation. */
export function describeSettings(table: SettingTable): SettingDescription[] {
  return Object.entries(table).map(([name, type]) => {
    const { data: fallback } = type.safeParse(undefined);
    return {
      name: variableOf(name),
      description: type.description ?? "",
      fallback: fallback === undefined ? undefined : String(fallback),
      bounds: boundsOf(type),
    };
  });
}

function boundsOf(type: z.core.$ZodType): string | undefined {
  if (type instanceof z.ZodDefault || type instanceof z.ZodOptional) return boundsOf(type.unwrap());
  if (type instanceof z.ZodPipe) return boundsOf(type.in);
  if (!(type instanceof z.ZodNumber)) return undefined;
  const { minValue, maxValue } = type;
  const max = maxValue === null || maxValue >= Number.MAX_SAFE_INTEGER ? undefined : maxValue;
  if (minValue === null || minValue <= Number.MIN_SAFE_INTEGER) return max === undefined ? undefined : `at most ${max}`;
  return max === undefined ? `from ${minValue}` : `${minValue} to ${max}`;
}

/**
 * Variables of the environment that look like settings and are none, each with the known name that is nearest, and settings that are
 * empty. In: the names that are known. Out: a sentence for each.
 */
export function strayVariables(known: readonly string[], env: Environment): string[] {
  return Object.entries(env).flatMap(([name, value]) => {
    if (value === undefined) return [];
    if (known.includes(name)) return value === "" ? [emptyVariable(name)] : [];
    if (!name.startsWith("PERCH_") || isServiceLink(name, value)) return [];
    const near = nearest(name, known);
    return [`${name} is no setting${near === undefined ? "" : `; did you mean ${near}?`}`];
  });
}

const serviceLinkHint = " (Kubernetes sets it beside a service of this name: enableServiceLinks: false keeps it away)";

/** What Kubernetes sets in every container beside a service whose name begins with "perch"; nobody typed it. */
function isServiceLink(name: string, value: string): boolean {
  return (
    /^PERCH_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$/.test(name) ||
    (/^PERCH_(\w+_)?PORT$/.test(name) && /^(tcp|udp|sctp):\/\//.test(value))
  );
}

/** The known name with the fewest letters to change, if it is near enough to be what was meant. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const rated = known.map((each) => ({ each, changes: lettersToChange(name.slice(0, 100), each) }));
  const best = rated.sort((a, b) => a.changes - b.changes)[0];
  return best !== undefined && best.changes <= Math.max(3, name.length / 3) ? best.each : undefined;
}

/** The edit distance of Levenshtein, row by row. */
function lettersToChange(from: string, to: string): number {
  let above = Array.from({ length: to.length + 1 }, (_, n) => n);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1] ? 0 : 1;
      row.push(Math.min((above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (above[j - 1] ?? 0) + same));
    }
    above = row;
  }
  return above[to.length] ?? 0;
}
