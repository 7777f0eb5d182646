import { describe, expect, it } from "vitest";
import { serveSettings } from "../../src/cli/settings.js";
import { describeGatewaySettings } from "../../src/gateway/index.js";
import { runPerch } from "../support/processes.js";

/** The lines of --help that describe a setting. */
const described = (help: string) =>
  [...help.matchAll(/^ {2}(PERCH_[A-Z_]+) +(\S.*)$/gm)].map(([, name = "", rest = ""]) => {
    const [, fallback, min, max] = /\((\d+)(?:; (?:from )?(\d+)(?: to (\d+))?)?\)$/.exec(rest) ?? [];
    return { name, rest, fallback, min, max };
  });

const read = (env: Record<string, string>) => serveSettings({ development: true }, env);

describe("the settings of a serving process", () => {
  it("are all listed by perch worker --help, each with what it means, its default and its bounds", async () => {
    const help = await runPerch(["worker", "--help"]);
    expect(help.code).toBe(0);
    const all = described(help.stdout);
    const names = all.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(expect.arrayContaining(describeGatewaySettings().map(({ name }) => name)));
    expect(names).toEqual(expect.arrayContaining(["PERCH_POOL_SIZE", "PERCH_LISTEN_URL", "PERCH_LOG_LEVEL"]));
    expect(all.find(({ name }) => name === "PERCH_POOL_SIZE")).toMatchObject({ fallback: "10", min: "2", max: "1000" });
    // What is listed is what is read: a wrong value is found, a default may be set, and the bounds are those that hold.
    let bounded = 0;
    for (const { name, fallback, min, max } of all) {
      if (fallback === undefined) continue;
      expect(() => read({ [name]: fallback }), name).not.toThrow();
      expect(() => read({ [name]: "many" }), name).toThrow(name);
      for (const [bound, step] of [
        [min, -1],
        [max, 1],
      ] as const) {
        if (bound === undefined) continue;
        bounded += 1;
        expect(() => read({ [name]: bound }), name).not.toThrow();
        expect(() => read({ [name]: String(Number(bound) + step) }), name).toThrow(name);
      }
    }
    expect(bounded).toBeGreaterThan(40);
  });

  it("are checked before anything is begun, and all that is wrong is named at once", async () => {
    const env = { PERCH_PORT: "abc", PERCH_POOL_SIZE: "1", PERCH_JWKS_URL: "nowhere", PERCH_LOG_LEVEL: "loud" };
    const { code, stdout, stderr } = await runPerch(["worker"], { env });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    for (const name of Object.keys(env)) expect(stderr).toContain(name);
  });

  it("wait no longer than a timer of Node can", () => {
    expect(() => read({ PERCH_SLOW_READER_MS: "2147483648" })).toThrow("PERCH_SLOW_READER_MS");
  });
});

describe("what perch was not told clearly it does not do", () => {
  const key = { PERCH_JWT_SECRET: "a secret of at least thirty-two bytes" };
  const unreachable = "postgres://nobody@127.0.0.1:1/none";

  it.each([
    ["without a key", {}, ["PERCH_JWT_SECRET", "PERCH_JWKS_URL"]],
    ["with an empty secret", { PERCH_JWT_SECRET: "" }, ["PERCH_JWT_SECRET is empty"]],
    ["with an empty JWKS URL", { PERCH_JWKS_URL: "" }, ["PERCH_JWKS_URL is empty"]],
    ["with a secret beside an empty setting", { ...key, PERCH_JWKS_URL: "" }, ["PERCH_JWKS_URL is empty"]],
    ["with a misspelt secret", { PERCH_JWT_SECERT: "x" }, ["PERCH_JWT_SECERT", "did you mean PERCH_JWT_SECRET?"]],
    ["with a misspelt limit", { ...key, PERCH_MAXSOCKETS: "5" }, ["did you mean PERCH_MAX_SOCKETS?"]],
    ["with an unknown setting", { ...key, PERCH_ZZZZZZZZZZZZ: "5" }, ["PERCH_ZZZZZZZZZZZZ is no setting"]],
    ["with an issuer alone", { PERCH_JWT_ISSUER: "https://id.example" }, ["PERCH_JWT_ISSUER", "PERCH_JWKS_URL"]],
    ["with an audience alone", { PERCH_JWT_AUDIENCE: "perch" }, ["PERCH_JWT_AUDIENCE", "PERCH_JWKS_URL"]],
    ["with a short secret", { PERCH_JWT_SECRET: "x".repeat(31) }, ["PERCH_JWT_SECRET: shorter than 32 bytes"]],
    ["in production without a key", { NODE_ENV: "production" }, ["PERCH_JWT_SECRET"]],
    ["with an empty database URL", { ...key, DATABASE_URL: "" }, ["DATABASE_URL is empty"]],
    ["with a misspelt database URL", { ...key, PERCH_DATABASE_URL: unreachable }, ["did you mean DATABASE_URL?"]],
    [
      "with more connections that wait than there are",
      { ...key, PERCH_WAITING_CONNECTIONS: "10", PERCH_STREAM_READS: "11" },
      ["PERCH_WAITING_CONNECTIONS is 10", "PERCH_STREAM_READS is 11", "PERCH_POOL_SIZE, 10"],
    ],
    ["with one port for two things", { ...key, PERCH_PORT: "4477", PERCH_METRICS_PORT: "4477" }, ["both 4477"]],
    ["with keys from nowhere on the web", { PERCH_JWKS_URL: "ftp://id.example/keys" }, ["PERCH_JWKS_URL"]],
    ["with a list of nothing", { ...key, PERCH_ALLOWED_ORIGINS: "," }, ["PERCH_ALLOWED_ORIGINS"]],
    [
      "with a URL to listen on and none to go with it",
      { ...key, PERCH_LISTEN_URL: unreachable, DATABASE_URL: "memory:" },
      ["PERCH_LISTEN_URL"],
    ],
  ])("perch worker %s says so and ends with exit code 2", async (_, env, said) => {
    const port = "PERCH_PORT" in env ? [] : ["--port", "0"];
    const result = await runPerch(["worker", ...port], { env: { DATABASE_URL: unreachable, ...env } });
    expect(result).toMatchObject({ code: 2, stdout: "" });
    for (const each of said) expect(result.stderr).toContain(each);
  });

  it.each([["migrate"], ["doctor"], ["export", "--user", "ann"], ["start"]])(
    "perch %s with an empty DATABASE_URL makes no database of its own",
    async (...args) => {
      const result = await runPerch(args, { env: { DATABASE_URL: "" } });
      expect(result).toMatchObject({ code: 2, stdout: "" });
      expect(result.stderr).toContain("DATABASE_URL is empty");
    },
  );

  it.each([
    ["behind a proxy", { PERCH_TRUST_PROXY: "true" }, "PERCH_TRUST_PROXY"],
    ["for the pages of any origin", { PERCH_ALLOWED_ORIGINS: "*" }, "PERCH_ALLOWED_ORIGINS"],
    ["on an address that others reach", { PERCH_HOST: "0.0.0.0" }, "loopback"],
  ])("perch start is not for use %s without a key", async (_, env, said) => {
    const result = await runPerch(["start", "--port", "0"], { env });
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain(said);
  });

  it("what Kubernetes sets beside a service called perch is nobody's mistake, but a port of it is no port to listen on", async () => {
    const links = {
      PERCH_SERVICE_HOST: "10.0.0.1",
      PERCH_SERVICE_PORT_HTTP: "4466",
      PERCH_PORT_4466_TCP_ADDR: "10.0.0.1",
      PERCH_WORKER_PORT: "tcp://10.0.0.2:4466",
    };
    const env = { ...key, ...links, DATABASE_URL: unreachable };
    expect(await runPerch(["worker", "--port", "0"], { env })).toMatchObject({ code: 1 });
    const linked = await runPerch(["worker"], { env: { ...env, PERCH_PORT: "tcp://10.0.0.1:4466" } });
    expect(linked.code).toBe(2);
    expect(linked.stderr).toContain("enableServiceLinks");
  });
});
