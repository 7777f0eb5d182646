import { type ParseArgsConfig, parseArgs } from "node:util";
import { nearest } from "../lib/settings.js";

/** What a module of this folder exports as `command`. */
export interface Command {
  /** The whole text of `perch NAME --help`, from "Usage:" on. */
  help: string;
  /**
   * Does the work. Resolves when done (exit code 0), or with another exit code; the process ends when nothing is open any more.
   * Throws UsageError for wrong use (exit code 2), anything else for a failure (exit code 1).
   */
  run(args: string[]): Promise<number | undefined>;
}

/** Wrong use of the command line: exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}

/**
 * `util.parseArgs`, strict, with wrong use reported as such.
 * In: the arguments after the command's name and a declaration as parseArgs takes it. Out: its values and positionals.
 */
export function parseCommandLine<T extends NonNullable<ParseArgsConfig["options"]>>(
  args: string[],
  options: T,
): ReturnType<typeof parseArgs<{ args: string[]; options: T; allowPositionals: true; strict: true }>> {
  try {
    return parseArgs({ args, options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError(unknownOption(error, Object.keys(options)) ?? String((error as Error).message));
  }
}

/** Node explains at length how an argument may begin with a dash; who comes here has mistyped. */
function unknownOption(error: unknown, known: readonly string[]): string | undefined {
  const { code, message } = error as { code?: string; message: string };
  if (code !== "ERR_PARSE_ARGS_UNKNOWN_OPTION") return undefined;
  const [, dashes = "", name = ""] = /'(-+)([^']*)'/.exec(message) ?? [];
  const near = name.length > 2 ? nearest(name, known) : undefined;
  return `unknown option ${dashes}${name}${near === undefined ? "" : `; did you mean --${near}?`}`;
}

/** Which database a command works on; for the options of `parseCommandLine` and the lines of its help. */
export const databaseOption = { "database-url": { type: "string" } } as const;
export const databaseOptionHelp = `  --database-url URL   postgres://… or pglite:FOLDER; default: DATABASE_URL, else the embedded
                       database in ./.perch`;
