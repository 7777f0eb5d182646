import { httpSettingTable, isLoopback } from "../http/settings.js";
import { identitySettingTable } from "../identity/settings.js";
import {
  count,
  describeSettings,
  type Environment,
  milliseconds,
  readSettings,
  type SettingDescription,
  SettingsError,
  type SettingsOf,
} from "../lib/settings.js";
import { roomSettingTable } from "../rooms/settings.js";
import { websocketSettingTable } from "../websocket/settings.js";

/** Every setting of the gateway: those of its parts, and what they share; `src/lib/settings.ts` says how to add one. */
export const gatewaySettingTable = {
  ...httpSettingTable,
  ...identitySettingTable,
  ...websocketSettingTable,
  ...roomSettingTable,
  maxHeldBytesPerUser: count(128 * 1024 * 1024).describe(
    "what is held in memory for one user: unread, unsent and unanswered bytes, rooms; all who have shown no token are one",
  ),
  slowReaderMs: milliseconds(30_000).describe(
    "how long a socket's queue, a backfill, an answer or an event may wait without going on before the client is cut off",
  ),
  recheckMs: milliseconds(1_000).describe("how often the access of open rooms and streams is checked again"),
  drainMs: milliseconds(4_000).describe("how long shutting down waits for what is in flight"),
};

export interface GatewaySettings extends SettingsOf<typeof gatewaySettingTable> {
  /** Whether a token is the plain user id. Not read from the environment: whoever starts a process for development asks for it. */
  readonly development: boolean;
}

/**
 * Reads the gateway's settings. In: environment variables; `development`: whether to serve without authentication where no key is
 * configured. Throws SettingsError naming every variable that is wrong, or what is missing to authenticate anybody.
 */
export function gatewaySettings(
  env: Environment = process.env,
  { development = false }: { development?: boolean } = {},
): GatewaySettings {
  const read = readSettings(gatewaySettingTable, env);
  const settings = { ...read, development: development && !hasKey(read) };
  const problems = authenticationProblems(settings);
  if (problems.length > 0) throw new SettingsError(problems);
  return settings;
}

type Authentication = Pick<
  GatewaySettings,
  "jwtSecret" | "jwksUrl" | "jwtIssuer" | "jwtAudience" | "trustProxy" | "allowedOrigins" | "host" | "development"
>;

const hasKey = ({ jwtSecret, jwksUrl }: Pick<Authentication, "jwtSecret" | "jwksUrl">) =>
  jwtSecret !== undefined || jwksUrl !== undefined;

/** Fails closed: without a key there is only development mode, which has to be asked for and which nobody else may reach. */
function authenticationProblems(settings: Authentication): string[] {
  const { jwtIssuer, jwtAudience, trustProxy, allowedOrigins, host, development } = settings;
  if (hasKey(settings)) return [];
  const checked = [
    ...(jwtIssuer === undefined ? [] : ["PERCH_JWT_ISSUER"]),
    ...(jwtAudience === undefined ? [] : ["PERCH_JWT_AUDIENCE"]),
  ];
  if (checked.length > 0) {
    return [`${checked.join(" and ")} without a key to verify tokens with: set PERCH_JWT_SECRET or PERCH_JWKS_URL`];
  }
  if (!development) {
    return [
      "no way to verify tokens: set PERCH_JWT_SECRET (32 bytes or more) or PERCH_JWKS_URL; for development without authentication use perch start",
    ];
  }
  if (!isLoopback(host)) {
    return [
      `PERCH_HOST is ${host}, and neither PERCH_JWT_SECRET nor PERCH_JWKS_URL is set: in development mode a token is just a user id, so perch listens on loopback only`,
    ];
  }
  if (trustProxy) {
    return [
      "PERCH_TRUST_PROXY without PERCH_JWT_SECRET or PERCH_JWKS_URL: development mode is not for use behind a proxy",
    ];
  }
  if (allowedOrigins?.includes("*")) {
    return ["PERCH_ALLOWED_ORIGINS is * without PERCH_JWT_SECRET or PERCH_JWKS_URL: any web page could be anybody"];
  }
  return [];
}

/** Throws for settings that were put together in code, and would let in whoever comes. */
export function requireAuthentication(settings: Authentication): void {
  const problems = authenticationProblems(settings);
  if (problems.length > 0) throw new SettingsError(problems);
}

/** All settings of the gateway, for `--help` and the documentation. */
export const describeGatewaySettings = (): SettingDescription[] => describeSettings(gatewaySettingTable);
