import { z } from "zod";
import { documentLimitTypes } from "../documents/limit-settings.js";
import { describeGatewaySettings, type GatewaySettings, gatewaySettings } from "../gateway/index.js";
import { UsageError } from "./command.js";

/** What a serving process needs besides the gateway's settings. Environment variable: PERCH_ and the name. */
const types = {
  listenUrl: z
    .string()
    .optional()
    .describe("where to LISTEN, when DATABASE_URL goes through a transaction-pooling proxy"),
  poolSize: z.coerce.number().int().min(2).max(1_000).default(10).describe("connections to Postgres at most"),
  queryTimeoutMs: z.coerce
    .number()
    .int()
    .min(1_000)
    .max(3_600_000)
    .default(60_000)
    .describe("how long a statement may take before its connection counts as lost"),
  engineThreads: z.coerce.number().int().min(1).max(64).optional().describe("threads that decode documents"),
  engineTimeoutMs: z.coerce.number().int().min(10).default(5_000).describe("how long one update may take to decode"),
  ...documentLimitTypes,
  keepChangesDays: z.coerce
    .number()
    .positive()
    .optional()
    .describe("log entries older than this many days are forgotten; unset: none ever"),
  keepChangesLast: z.coerce
    .number()
    .int()
    .min(0)
    .default(1_000)
    .describe("but so many of each space are kept whatever their age"),
  logLevel: z
    .enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"])
    .default("warn")
    .describe("what is logged, as JSON lines to standard error: trace, debug, info, warn, error, fatal or silent"),
};

const schema = z.object(types);

export interface ServeSettings extends z.output<typeof schema> {
  gateway: GatewaySettings;
}

const names = Object.keys(types) as (keyof typeof types)[];

const variable = (name: string) => `PERCH_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;

/** The flags that stand for a setting, for `parseCommandLine`. */
export const serveOptions = { host: { type: "string" }, port: { type: "string" } } as const;

/**
 * Reads the settings of a serving process: a flag wins over its environment variable, an empty variable counts as unset.
 * Throws UsageError naming every setting that is wrong.
 */
export function serveSettings(
  flags: { host?: string | undefined; port?: string | undefined },
  env: Readonly<Record<string, string | undefined>> = process.env,
): ServeSettings {
  const problems: string[] = [];
  const given = Object.fromEntries(names.map((name) => [name, env[variable(name)] || undefined]));
  const own = schema.safeParse(given);
  for (const issue of own.error?.issues ?? []) problems.push(`${variable(String(issue.path[0]))}: ${issue.message}`);
  let gateway: GatewaySettings | undefined;
  try {
    gateway = gatewaySettings({
      ...env,
      PERCH_HOST: flags.host ?? env.PERCH_HOST,
      PERCH_PORT: flags.port ?? env.PERCH_PORT,
    });
  } catch (error) {
    problems.push(error instanceof Error ? error.message.replace(/^wrong settings: /, "") : String(error));
  }
  if (own.data === undefined || gateway === undefined) throw new UsageError(`wrong settings: ${problems.join("; ")}`);
  return { ...own.data, gateway };
}

/** Variables that are named like a setting and are none: most likely one that is misspelt, and has no effect. */
export function unknownSettings(env: Readonly<Record<string, string | undefined>> = process.env): string[] {
  const known = new Set([...describeGatewaySettings().map(({ name }) => name), ...names.map(variable)]);
  return Object.keys(env).filter((name) => name.startsWith("PERCH_") && env[name] && !known.has(name));
}

/** Every setting with its default, as lines for `--help`. */
export function settingsHelp(): string {
  const own = names.map((name) => {
    const { data: fallback } = types[name].safeParse(undefined);
    return {
      name: variable(name),
      description: types[name].description ?? "",
      fallback: fallback === undefined ? undefined : String(fallback),
    };
  });
  const all = [...describeGatewaySettings(), ...own];
  const width = Math.max(...all.map(({ name }) => name.length)) + 2;
  return all
    .map(({ name, description, fallback }) =>
      `  ${name.padEnd(width)}${description}${fallback === undefined ? "" : ` (${fallback})`}`.trimEnd(),
    )
    .join("\n");
}
