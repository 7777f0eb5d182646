import { createHmac } from "node:crypto";

/** What the workers of tests and scripts verify tokens with. */
export const workerSecret = "a secret that only tests and scripts share";

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token of a user for such a worker, valid for a day; with these claims besides. */
export function userToken(userId: string, claims: object = {}): string {
  const exp = Math.floor(Date.now() / 1000) + 24 * 60 * 60;
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: userId, exp, ...claims })}`;
  return `${signed}.${createHmac("sha256", workerSecret).update(signed).digest("base64url")}`;
}
