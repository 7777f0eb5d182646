import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from "jose";
import { z } from "zod";
import { canBeStored, isId, maxUserIdBytes } from "../database/text.js";
import { PerchError } from "../errors.js";
import type { Identity } from "./identity.js";
import type { IdentitySettings } from "./settings.js";

/** Of the claim `perch_role`. */
const consoleRoles = ["viewer", "admin"] as const;
export type ConsoleRole = (typeof consoleRoles)[number];

/** Who a token speaks for. */
export interface TokenIdentity extends Identity {
  /** What the token is in the console: nothing, one that reads, or one that may do everything there. */
  readonly consoleRole?: ConsoleRole | undefined;
  /** Of a service: as whom it reads the logs of all spaces, where that is registered (perch.register_reader). */
  readonly reader?: string | undefined;
  /** When the token stops being valid, by this machine's clock; Infinity: never. */
  readonly expiresAt: number;
}

/** A token could not be checked now: where the keys are did not give them. It says nothing about the token. */
export class KeysAway extends Error {
  constructor(cause: unknown) {
    super("the keys of tokens cannot be fetched", { cause });
    this.name = "KeysAway";
  }
}

/** Verifies a token. Out: whose it is. Errors: PE401 when the token is refused; KeysAway. */
export type VerifyToken = (token: string) => Promise<TokenIdentity>;

const id = z.string().min(1).refine(canBeStored, "it cannot be stored to the letter");

/** What a reader of a service is called where rules ask who reads (perch.read_log); nobody else may be. */
const readerPrefix = "perch:reader:";

const claims = z.object({
  sub: z
    .string()
    .refine((text) => isId(text, maxUserIdBytes) && !text.startsWith(readerPrefix), "it cannot be a user's id"),
  space_ids: z.array(id).optional(),
  writable_space_ids: z.array(id).optional(),
  // What else another system may mean by it is nothing here.
  perch_role: z.enum(consoleRoles).optional().catch(undefined),
  perch_reader: z.string().optional().catch(undefined),
});

/** Asymmetric only: a public key must never be usable as the secret of an HMAC. */
const publicKeyAlgorithms = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/** How often an unknown key id may cause the key set to be fetched. */
const unknownKeyCooldownMs = 5_000;
const keySetRefreshMs = 10 * 60_000;

/** Longer ones are not looked at. */
export const maxTokenLength = 16 * 1024;

/** A token that was found good is so for a while, unless it expires: a key that is taken back counts no later than this. */
const goodForMs = 30_000;
/** How many of them are known, each of at most so many characters. */
const knownTokens = 5_000;
const maxKnownLength = 2 * 1024;

export function createTokenVerifier(settings: IdentitySettings): VerifyToken {
  const verify = settings.development ? verifyDevelopmentToken : remembering(createJwtVerifier(settings));
  return async (token) => {
    if (token === "")
      throw refused("there is none; send Authorization: Bearer TOKEN, or ?token=, or the auth of a join");
    if (token.length > maxTokenLength) throw refused("it is too long");
    return verify(token);
  };
}

/**
 * Remembers tokens that were found good: a client sends the same one with each request, and looking at it takes some turns of the event loop.
 * Whoever makes tokens up fills nothing here.
 */
function remembering(verify: VerifyToken): VerifyToken {
  /** Those that were looked at longest ago come first. */
  const known = new Map<string, { readonly identity: TokenIdentity; readonly until: number }>();
  return async (token) => {
    const found = known.get(token);
    if (found !== undefined && Date.now() < found.until) return found.identity;
    known.delete(token);
    const identity = await verify(token);
    if (token.length > maxKnownLength) return identity;
    known.set(token, { identity, until: Math.min(Date.now() + goodForMs, identity.expiresAt) });
    const [oldest] = known.keys();
    if (known.size > knownTokens && oldest !== undefined) known.delete(oldest);
    return identity;
  };
}

function createJwtVerifier(settings: IdentitySettings): VerifyToken {
  const { jwtIssuer, jwtAudience, jwtClockSkewSeconds, jwtWithoutExpiry } = settings;
  const options: JWTVerifyOptions = {
    clockTolerance: jwtClockSkewSeconds,
    requiredClaims: jwtWithoutExpiry ? ["sub"] : ["sub", "exp"],
    ...(jwtIssuer === undefined ? {} : { issuer: jwtIssuer }),
    ...(jwtAudience === undefined ? {} : { audience: jwtAudience }),
  };
  const secret = settings.jwtSecret === undefined ? undefined : new TextEncoder().encode(settings.jwtSecret);
  const keySet = settings.jwksUrl === undefined ? undefined : createKeySet(new URL(settings.jwksUrl));

  const verify = async (token: string): Promise<JWTPayload> => {
    if (secret !== undefined && (keySet === undefined || isSymmetric(token))) {
      return (await jwtVerify(token, secret, { ...options, algorithms: ["HS256"] })).payload;
    }
    if (keySet === undefined) throw refused("no key to verify it with");
    return (await jwtVerify(token, keySet, { ...options, algorithms: publicKeyAlgorithms })).payload;
  };

  return async (token) => {
    let payload: JWTPayload;
    try {
      payload = await verify(token);
    } catch (error) {
      throw isVerdict(error) ? refused(error.message, error) : new KeysAway(error);
    }
    const { data, error } = claims.safeParse(payload);
    if (data === undefined) throw refused(`claim ${error.issues[0]?.path.join(".")} is malformed`);
    return {
      userId: data.sub,
      spaceIds: data.space_ids,
      writableSpaceIds: data.writable_space_ids,
      consoleRole: data.perch_role,
      reader: data.perch_reader,
      expiresAt: payload.exp === undefined ? Number.POSITIVE_INFINITY : (payload.exp + jwtClockSkewSeconds) * 1000,
    };
  };
}

const verifyDevelopmentToken: VerifyToken = async (token) => {
  if (!isId(token, maxUserIdBytes)) throw refused("it is no user id");
  const reader = token.startsWith(readerPrefix) ? token.slice(readerPrefix.length) : undefined;
  return { userId: token, consoleRole: "admin", reader, expiresAt: Number.POSITIVE_INFINITY };
};

/** Keys that were fetched once serve on while the key server is away; a failed refresh shows only to tokens of new keys. */
function createKeySet(url: URL) {
  const keys = createRemoteJWKSet(url, {
    cooldownDuration: unknownKeyCooldownMs,
    cacheMaxAge: Number.POSITIVE_INFINITY,
  });
  let refreshAt = Date.now() + keySetRefreshMs;
  return (...args: Parameters<typeof keys>) => {
    if (Date.now() > refreshAt) {
      refreshAt = Date.now() + keySetRefreshMs;
      keys.reload().catch(() => undefined);
    }
    return keys(...args);
  };
}

/** Only to choose the key; the algorithm is enforced in verification. */
function isSymmetric(token: string): boolean {
  try {
    const header: unknown = JSON.parse(Buffer.from(token.slice(0, token.indexOf(".")), "base64url").toString());
    return typeof header === "object" && header !== null && "alg" in header && String(header.alg).startsWith("HS");
  } catch {
    return false;
  }
}

/** Whether an error is a judgement of the token, rather than of the way to its key. */
function isVerdict(error: unknown): error is Error {
  if (error instanceof PerchError) return true;
  if (!(error instanceof errors.JOSEError)) return false;
  const { code } = error;
  return code !== errors.JOSEError.code && code !== errors.JWKSTimeout.code && code !== errors.JWKSInvalid.code;
}

function refused(reason: string, cause?: Error): PerchError {
  if (cause instanceof PerchError) return cause;
  return new PerchError("PE401", `the token was refused: ${reason}`, null, cause && { cause });
}
