import { z } from "zod";
import { databaseSettingTable } from "../database/settings.js";
import { documentLimitTable } from "../documents/limit-settings.js";
import { engineSettingTable } from "../engine/settings.js";
import { type GatewaySettings, gatewaySettings, gatewaySettingTable } from "../gateway/settings.js";
import {
  describeSettings,
  type Environment,
  readSettings,
  SettingsError,
  type SettingsOf,
  strayVariables,
  variableOf,
} from "../lib/settings.js";
import { workerSettingTable } from "../worker/settings.js";
import { UsageError } from "./command.js";

/** What a serving process needs besides the gateway's settings; `src/lib/settings.ts` says how to add one. */
const processSettingTable = {
  ...databaseSettingTable,
  ...engineSettingTable,
  ...documentLimitTable,
  ...workerSettingTable,
  logLevel: z
    .enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"])
    .default("warn")
    .describe("what is logged, as JSON lines to standard error: trace, debug, info, warn, error, fatal or silent"),
};

export interface ServeSettings extends SettingsOf<typeof processSettingTable> {
  gateway: GatewaySettings;
}

/**
 * How long a transaction of a serving process may ask nothing before the server ends it: longer than any of perch's work within one, and so
 * much shorter than it takes a server to notice by itself that a process, or the way to it, is gone.
 */
export function idleTransactionMs({ queryTimeoutMs }: Pick<ServeSettings, "queryTimeoutMs">): number {
  return Math.max(5 * 60_000, queryTimeoutMs);
}

/** The flags that stand for a setting, for `parseCommandLine`. */
export const serveOptions = { host: { type: "string" }, port: { type: "string" } } as const;

export interface ServeFlags {
  host?: string | undefined;
  port?: string | undefined;
  /** Whether to serve without authentication where no key is configured; then on loopback only. */
  development?: boolean;
}

/**
 * Reads the settings of a serving process: a flag wins over its environment variable. Throws UsageError naming every setting that is
 * wrong.
 */
export function serveSettings(flags: ServeFlags, env: Environment = process.env): ServeSettings {
  const problems: string[] = [];
  const collect = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error;
      problems.push(...error.problems);
      return undefined;
    }
  };
  const own = collect(() => readSettings(processSettingTable, env));
  const gateway = collect(() =>
    gatewaySettings(
      { ...env, PERCH_HOST: flags.host ?? env.PERCH_HOST, PERCH_PORT: flags.port ?? env.PERCH_PORT },
      { development: flags.development ?? false },
    ),
  );
  if (own !== undefined && gateway !== undefined) problems.push(...contradictions({ ...own, gateway }, env));
  if (own === undefined || gateway === undefined || problems.length > 0)
    throw new UsageError(`wrong settings: ${problems.join("; ")}`);
  return { ...own, gateway };
}

/** What was set and cannot be, beside another setting. A default that does not fit is nobody's mistake. */
function contradictions({ poolSize, gateway }: ServeSettings, env: Environment): string[] {
  const { port, metricsPort } = gateway;
  const ofThePool = ["waitingConnections", "streamReads"] as const;
  return [
    ...ofThePool
      .filter((name) => env[variableOf(name)] !== undefined && gateway[name] >= poolSize)
      .map((name) => `${variableOf(name)} is ${gateway[name]}: it has to be less than PERCH_POOL_SIZE, ${poolSize}`),
    ...(metricsPort === port && port !== 0 ? [`PERCH_METRICS_PORT and PERCH_PORT are both ${port}`] : []),
  ];
}

const described = () => [...describeSettings(gatewaySettingTable), ...describeSettings(processSettingTable)];

/**
 * Throws UsageError when the environment has what looks like a setting and is none, or one that is empty: with a misspelt or lost
 * secret, database or limit, perch would do something else than was meant.
 */
export function requireKnownEnvironment(env: Environment = process.env): void {
  const problems = strayVariables(["DATABASE_URL", ...described().map(({ name }) => name)], env);
  if (problems.length > 0) throw new UsageError(`wrong settings: ${problems.join("; ")}`);
}

/** Every setting with its default and bounds, as lines for `--help`. */
export function settingsHelp(): string {
  const all = described();
  const width = Math.max(...all.map(({ name }) => name.length)) + 2;
  return all
    .map(({ name, description, fallback, bounds }) => {
      const facts = [fallback, bounds].filter((fact) => fact !== undefined).join("; ");
      return `  ${name.padEnd(width)}${description}${facts === "" ? "" : ` (${facts})`}`.trimEnd();
    })
    .join("\n");
}
