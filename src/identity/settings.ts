import { z } from "zod";
import { flag, type SettingsOf } from "../lib/settings.js";

/** Settings of how tokens are verified; `src/lib/settings.ts` says how to add one. */
export const identitySettingTable = {
  jwtSecret: z
    .string()
    .refine((secret) => Buffer.byteLength(secret) >= 32, "shorter than 32 bytes, so it could be guessed from one token")
    .optional()
    .describe("secret of HS256 tokens, 32 bytes or more"),
  jwksUrl: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe("where the public keys of RS, PS, ES and EdDSA tokens are"),
  jwtIssuer: z.string().min(1).optional().describe("the iss a token must have"),
  jwtAudience: z.string().min(1).optional().describe("the aud a token must have"),
  jwtClockSkewSeconds: z.coerce.number().min(0).max(300).default(1).describe("by how much clocks may differ"),
  jwtWithoutExpiry: flag.describe("whether tokens without exp are taken, which are valid for as long as their key is"),
};

export interface IdentitySettings extends SettingsOf<typeof identitySettingTable> {
  /** Whether a token is the plain user id. Not read from the environment: whoever starts a process for development asks for it. */
  readonly development: boolean;
}
