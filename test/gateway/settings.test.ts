import { describe, expect, it } from "vitest";
import { describeGatewaySettings, gatewaySettings, isLoopback } from "../../src/gateway/settings.js";

describe("the gateway's settings", () => {
  it("have defaults that serve one machine", () => {
    expect(gatewaySettings({})).toMatchObject({ host: "127.0.0.1", port: 4466, fragmentTimeoutMs: 10_000 });
  });

  it("come from the environment, an empty variable counting as unset", () => {
    const settings = gatewaySettings({
      PERCH_PORT: "0",
      PERCH_HOST: "",
      PERCH_JWT_SECRET: "s",
      PERCH_ALLOWED_ORIGINS: "https://a.example, https://b.example",
      PERCH_TRUST_PROXY: "true",
    });
    expect(settings).toMatchObject({
      port: 0,
      host: "127.0.0.1",
      jwtSecret: "s",
      allowedOrigins: ["https://a.example", "https://b.example"],
      trustProxy: true,
    });
  });

  it("name every variable that is wrong", () => {
    expect(() => gatewaySettings({ PERCH_PORT: "abc", PERCH_MAX_SOCKETS: "0" })).toThrow(
      /PERCH_PORT.*PERCH_MAX_SOCKETS/,
    );
  });

  it("refuse development mode on an address that others can reach", () => {
    expect(() => gatewaySettings({ PERCH_HOST: "0.0.0.0" })).toThrow(/development mode/);
    expect(() => gatewaySettings({ PERCH_HOST: "::" })).toThrow(/development mode/);
    expect(gatewaySettings({ PERCH_HOST: "0.0.0.0", PERCH_JWT_SECRET: "s" }).host).toBe("0.0.0.0");
    expect(gatewaySettings({ PERCH_HOST: "0.0.0.0", PERCH_JWKS_URL: "https://id.example/keys" }).host).toBe("0.0.0.0");
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
