import { describe, expect, it } from "vitest";
import { describeGatewaySettings, gatewaySettings } from "../../src/gateway/settings.js";
import { isLoopback } from "../../src/http/settings.js";

const secret = "a secret of at least thirty-two bytes";
const read = (env: Record<string, string> = {}) => gatewaySettings(env, { development: true });

describe("the gateway's settings", () => {
  it("have defaults that serve one machine", () => {
    expect(read()).toMatchObject({ host: "127.0.0.1", port: 4466, fragmentTimeoutMs: 10_000, development: true });
  });

  it("come from the environment", () => {
    const settings = gatewaySettings({
      PERCH_PORT: "0",
      PERCH_JWT_SECRET: secret,
      PERCH_ALLOWED_ORIGINS: "https://a.example, https://b.example",
      PERCH_TRUST_PROXY: "true",
    });
    expect(settings).toMatchObject({
      port: 0,
      host: "127.0.0.1",
      jwtSecret: secret,
      allowedOrigins: ["https://a.example", "https://b.example"],
      trustProxy: true,
      development: false,
    });
  });

  it("name every variable that is wrong or empty", () => {
    const wrong = { PERCH_PORT: "abc", PERCH_MAX_SOCKETS: "0", PERCH_HOST: "" };
    for (const name of Object.keys(wrong)) expect(() => read(wrong)).toThrow(name);
  });

  it("make nobody somebody unless that is asked for, and then on loopback only", () => {
    expect(() => gatewaySettings({})).toThrow(/PERCH_JWT_SECRET .* or PERCH_JWKS_URL/);
    expect(() => read({ PERCH_HOST: "0.0.0.0" })).toThrow(/development mode/);
    expect(() => read({ PERCH_HOST: "::" })).toThrow(/development mode/);
    expect(read({ PERCH_HOST: "0.0.0.0", PERCH_JWT_SECRET: secret })).toMatchObject({ development: false });
    expect(read({ PERCH_HOST: "0.0.0.0", PERCH_JWKS_URL: "https://id.example/keys" })).toMatchObject({
      development: false,
    });
  });

  it.each([
    ["https://app.example/", "https://app.example"],
    ["https://App.Example", "https://app.example"],
    ["HTTPS://app.example:443", "https://app.example"],
    ["http://app.example:80", "http://app.example"],
    ["https://app.example:8443", "https://app.example:8443"],
    ["https://b\u00fccher.example", "https://xn--bcher-kva.example"],
    ["http://[::1]:3000", "http://[::1]:3000"],
    ["capacitor://Localhost", "capacitor://localhost"],
    ["null", "null"],
  ])("take the origin %s as browsers send it", (given, sent) => {
    expect(read({ PERCH_ALLOWED_ORIGINS: given }).allowedOrigins).toEqual([sent]);
  });

  it.each([
    "app.example",
    "https://*.example",
    "https://a.example;https://b.example",
    "https://a.example https://b.example",
    "https://app.example/path",
    "https://app.example?",
    "https://ann@app.example",
    "https://",
    "https://app.example:port",
  ])("refuse the origin %s, which could never match", (given) => {
    expect(() => read({ PERCH_ALLOWED_ORIGINS: given })).toThrow(/PERCH_ALLOWED_ORIGINS.*can never match/);
  });

  it("know which hosts only this machine reaches", () => {
    for (const host of ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]) expect(isLoopback(host)).toBe(true);
    for (const host of ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.0.0.1.example"]) {
      expect(isLoopback(host)).toBe(false);
    }
  });

  it("can all be listed with what they mean", () => {
    const described = describeGatewaySettings();
    expect(described.find(({ name }) => name === "PERCH_PORT")).toMatchObject({ fallback: "4466" });
    for (const { name, description } of described) {
      expect(name).toMatch(/^PERCH_[A-Z_]+$/);
      expect(description).not.toBe("");
    }
  });
});
