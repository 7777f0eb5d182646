import { describe, expect, it } from "vitest";
import { serveSettings, unknownSettings } from "../../src/cli/settings.js";
import { describeGatewaySettings } from "../../src/gateway/index.js";
import { runPerch } from "../support/processes.js";

/** The lines of --help that describe a setting. */
const described = (help: string) =>
  [...help.matchAll(/^ {2}(PERCH_[A-Z_]+) +(\S.*)$/gm)].map(([, name = "", rest = ""]) => {
    const [, fallback] = /\(([^()]*)\)$/.exec(rest) ?? [];
    return { name, rest, fallback };
  });

describe("the settings of a serving process", () => {
  it("are all listed by perch worker --help, each with what it means and its default", async () => {
    const help = await runPerch(["worker", "--help"]);
    expect(help.code).toBe(0);
    const all = described(help.stdout);
    const names = all.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(expect.arrayContaining(describeGatewaySettings().map(({ name }) => name)));
    expect(names).toEqual(expect.arrayContaining(["PERCH_POOL_SIZE", "PERCH_LISTEN_URL", "PERCH_LOG_LEVEL"]));
    // What is listed is what is read: a wrong value is found, and a default is a value that may be set.
    for (const { name, fallback } of all) {
      if (fallback !== undefined && /^\d+$/.test(fallback)) {
        expect(() => serveSettings({}, { [name]: fallback }), name).not.toThrow();
        expect(() => serveSettings({}, { [name]: "many" }), name).toThrow(name);
        expect(() => serveSettings({}, { [name]: "-1" }), name).toThrow(name);
      }
      expect(unknownSettings({ [name]: "x" })).toEqual([]);
    }
  });

  it("are checked before anything is begun, and all that is wrong is named at once", async () => {
    const env = { PERCH_PORT: "abc", PERCH_POOL_SIZE: "1", PERCH_JWKS_URL: "nowhere", PERCH_LOG_LEVEL: "loud" };
    const { code, stdout, stderr } = await runPerch(["worker"], { env });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    for (const name of Object.keys(env)) expect(stderr).toContain(name);
  });

  it("are told apart from variables that only look like one", () => {
    expect(unknownSettings({ PERCH_PORTT: "1", PERCH_PORT: "1", PATH: "/", PERCH_EMPTY: "" })).toEqual(["PERCH_PORTT"]);
  });
});
