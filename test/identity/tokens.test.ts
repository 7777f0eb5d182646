import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, type JWK, SignJWT, UnsecuredJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { PerchError } from "../../src/errors.js";
import { gatewaySettings } from "../../src/gateway/settings.js";
import { createTokenVerifier } from "../../src/identity/tokens.js";
import { until } from "../gateway/support.js";

const secret = "a secret of at least thirty-two bytes";
const key = new TextEncoder().encode(secret);
const now = () => Math.floor(Date.now() / 1000);
/** Valid for a minute unless the claims say otherwise. */
const sign = (claims: Record<string, unknown>, alg = "HS256") =>
  new SignJWT({ exp: now() + 60, ...claims }).setProtectedHeader({ alg }).sign(key);
const verifier = (env: Record<string, string> = {}) =>
  createTokenVerifier(gatewaySettings({ PERCH_JWT_SECRET: secret, ...env }));
const refusal = { code: "PE401", word: "unauthenticated" };

describe("tokens in development mode", () => {
  const verify = createTokenVerifier(gatewaySettings({}, { development: true }));

  it("are the plain user id", async () => {
    expect(await verify("ada")).toEqual({ userId: "ada", consoleRole: "admin", expiresAt: Number.POSITIVE_INFINITY });
  });

  it.each(["", "a\0b", "\ud800"])("%j is refused", async (token) => {
    await expect(verify(token)).rejects.toMatchObject(refusal);
  });
});

describe("HS256 tokens", () => {
  it("name the user, and the spaces when they list them", async () => {
    const verify = verifier();
    expect(await verify(await sign({ sub: "ada" }))).toMatchObject({ userId: "ada", spaceIds: undefined });
    const exp = now() + 60;
    const listed = await verify(await sign({ sub: "ada", space_ids: ["a", "b,c"], writable_space_ids: ["a"], exp }));
    expect(listed).toEqual({
      userId: "ada",
      spaceIds: ["a", "b,c"],
      writableSpaceIds: ["a"],
      expiresAt: (exp + 1) * 1000,
    });
  });

  it("say what they are in the console, and nothing there by any other word", async () => {
    const roleBy = async (perch_role: unknown) =>
      (await verifier()(await sign({ sub: "ada", perch_role }))).consoleRole;
    expect([await roleBy("viewer"), await roleBy("admin")]).toEqual(["viewer", "admin"]);
    for (const other of ["owner", "", true, ["admin"], null, undefined]) expect(await roleBy(other)).toBeUndefined();
  });

  it.each([
    ["no subject", {}],
    ["an empty subject", { sub: "" }],
    ["a subject that is no text", { sub: 7 }],
    ["a subject with a NUL", { sub: "a\0" }],
    ["a subject with a control character", { sub: "a\u001f" }],
    ["a subject that is longer than a user's id", { sub: "a".repeat(256) }],
    ["a subject that no database can hold", { sub: "\ud800" }],
    ["spaces that are no list", { sub: "ada", space_ids: "team" }],
    ["a list of other things", { sub: "ada", writable_space_ids: [1] }],
    ["an expiry in the past", { sub: "ada", exp: now() - 5 }],
    ["a start in the future", { sub: "ada", nbf: now() + 30 }],
  ])("with %s are refused", async (_, claims) => {
    await expect(verifier()(await sign(claims))).rejects.toMatchObject(refusal);
  });

  it.each(["", "ada", "a.b.c", "..", "a.b"])("that are no tokens (%j) are refused", async (token) => {
    await expect(verifier()(token)).rejects.toMatchObject(refusal);
  });

  it("of other algorithms, none included, are refused", async () => {
    await expect(verifier()(await sign({ sub: "ada" }, "HS512"))).rejects.toMatchObject(refusal);
    await expect(verifier()(new UnsecuredJWT({ sub: "ada" }).encode())).rejects.toMatchObject(refusal);
  });

  it("expire, unless tokens without an expiry are asked for", async () => {
    const everlasting = await sign({ sub: "ada", exp: undefined });
    await expect(verifier()(everlasting)).rejects.toMatchObject({
      ...refusal,
      message: expect.stringContaining("exp"),
    });
    const lenient = verifier({ PERCH_JWT_WITHOUT_EXPIRY: "true" });
    expect(await lenient(everlasting)).toMatchObject({ userId: "ada", expiresAt: Number.POSITIVE_INFINITY });
    await expect(lenient(await sign({ sub: "ada", exp: now() - 5 }))).rejects.toMatchObject(refusal);
  });

  it("are looked at once in a while, and no longer taken for good than they are", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      const looks = vi.spyOn(crypto.subtle, "verify");
      const verify = verifier();
      const token = await sign({ sub: "ada", exp: now() + 50 });
      for (let n = 0; n < 3; n++) expect(await verify(token)).toMatchObject({ userId: "ada" });
      expect(looks).toHaveBeenCalledTimes(1);
      vi.setSystemTime(Date.now() + 31_000);
      expect(await verify(token)).toMatchObject({ userId: "ada" });
      expect(looks).toHaveBeenCalledTimes(2);
      vi.setSystemTime(Date.now() + 21_000);
      await expect(verify(token)).rejects.toMatchObject(refusal);
      looks.mockRestore();
    } finally {
      vi.useRealTimers();
    }
  });

  it("allow for clocks that differ a little", async () => {
    const verify = verifier({ PERCH_JWT_CLOCK_SKEW_SECONDS: "10" });
    expect(await verify(await sign({ sub: "ada", exp: now() - 5 }))).toMatchObject({ userId: "ada" });
    expect(await verify(await sign({ sub: "ada", nbf: now() + 5 }))).toMatchObject({ userId: "ada" });
  });

  it("must have the issuer and audience that are asked for", async () => {
    const verify = verifier({ PERCH_JWT_ISSUER: "https://id.example", PERCH_JWT_AUDIENCE: "perch" });
    const right = { sub: "ada", iss: "https://id.example", aud: ["other", "perch"] };
    expect(await verify(await sign(right))).toMatchObject({ userId: "ada" });
    await expect(verify(await sign({ ...right, iss: "https://evil.example" }))).rejects.toMatchObject(refusal);
    await expect(verify(await sign({ ...right, aud: "other" }))).rejects.toMatchObject(refusal);
    await expect(verify(await sign({ sub: "ada" }))).rejects.toMatchObject(refusal);
  });

  it("that are refused are not repeated in the error", async () => {
    const token = await sign({ sub: "ada", exp: 1 });
    const error = await verifier()(token).catch((caught: unknown) => caught);
    expect(String(error)).not.toContain(token.split(".")[1]);
  });
});

describe("tokens of public keys", () => {
  const algorithms = ["RS256", "PS256", "ES256", "EdDSA"];
  const pairs = new Map<string, Awaited<ReturnType<typeof generateKeyPair>>>();
  const published: JWK[] = [];
  let fetches = 0;
  let broken = false;
  let server: Server;
  let url: string;

  beforeAll(async () => {
    for (const alg of algorithms) {
      const pair = await generateKeyPair(alg, { extractable: true });
      pairs.set(alg, pair);
      published.push({ ...(await exportJWK(pair.publicKey)), alg, kid: alg });
    }
    server = createServer((_, response) => {
      fetches += 1;
      response.statusCode = broken ? 500 : 200;
      response.end(JSON.stringify({ keys: published }));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
  });
  afterAll(() => {
    server.close();
  });

  const signed = (alg: string, kid = alg) => {
    const pair = pairs.get(alg);
    if (pair === undefined) throw new Error("no such key");
    return new SignJWT({ sub: "ada", exp: now() + 60 }).setProtectedHeader({ alg, kid }).sign(pair.privateKey);
  };
  const byKeys = (env: Record<string, string> = {}) =>
    createTokenVerifier(gatewaySettings({ PERCH_JWKS_URL: url, ...env }));

  it.each(algorithms)("%s are verified by the key set", async (alg) => {
    expect(await byKeys()(await signed(alg))).toMatchObject({ userId: "ada" });
  });

  it("work beside a secret", async () => {
    const verify = byKeys({ PERCH_JWT_SECRET: secret });
    expect(await verify(await signed("ES256"))).toMatchObject({ userId: "ada" });
    expect(await verify(await sign({ sub: "bob" }))).toMatchObject({ userId: "bob" });
  });

  it("cannot be forged with a public key as the secret", async () => {
    const forged = new SignJWT({ sub: "ada" })
      .setProtectedHeader({ alg: "HS256", kid: "RS256" })
      .sign(new TextEncoder().encode(JSON.stringify(published[0])));
    await expect(byKeys()(await forged)).rejects.toMatchObject(refusal);
  });

  it("of unknown keys are refused, and do not make perch fetch the set for each of them", async () => {
    const verify = byKeys();
    await verify(await signed("ES256"));
    const before = fetches;
    for (let n = 0; n < 20; n++) await expect(verify(await signed("ES256", `no${n}`))).rejects.toMatchObject(refusal);
    expect(fetches - before).toBeLessThanOrEqual(1);
  });

  it("of a key that is published later are verified, those of one that is withdrawn are not: keys rotate", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      const verify = byKeys();
      await verify(await signed("ES256"));
      const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
      const next = { ...(await exportJWK(publicKey)), alg: "ES256", kid: "next" };
      const token = await new SignJWT({ sub: "ada", exp: now() + 3_600 })
        .setProtectedHeader({ alg: "ES256", kid: "next" })
        .sign(privateKey);
      published.push(next);
      vi.setSystemTime(Date.now() + 6_000);
      expect(await verify(token)).toMatchObject({ userId: "ada" });
      published.splice(published.indexOf(next), 1);
      vi.setSystemTime(Date.now() + 11 * 60_000);
      // What was found good a moment ago still is.
      await until(async () => {
        vi.setSystemTime(Date.now() + 31_000);
        return (await verify(token).catch((error: unknown) => error)) instanceof PerchError;
      });
      await expect(verify(token)).rejects.toMatchObject(refusal);
      expect(await verify(await signed("ES256"))).toMatchObject({ userId: "ada" });
    } finally {
      vi.useRealTimers();
    }
  });

  it("go on being verified while the key server is away", async () => {
    const verify = byKeys();
    await verify(await signed("ES256"));
    broken = true;
    expect(await verify(await signed("RS256"))).toMatchObject({ userId: "ada" });
    broken = false;
  });

  it("that cannot be verified for now are not called refused", async () => {
    broken = true;
    const error: unknown = await byKeys()(await signed("ES256")).catch((caught: unknown) => caught);
    broken = false;
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toMatchObject(refusal);
  });
});
