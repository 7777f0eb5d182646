import { readdirSync, readFileSync } from "node:fs";
import { LoroDoc } from "loro-crdt";
import { expect, test } from "vitest";
import { serveSettings } from "../../src/cli/settings.js";
import { databaseLimits, documentLimitTable, engineLimits } from "../../src/documents/limit-settings.js";
import { createDocumentEngine } from "../../src/documents/loro/engine.js";
import { defaultLimits } from "../../src/documents/loro/limits.js";
import { variableOf } from "../../src/lib/settings.js";
import { seededRandom } from "../support/traces.js";
import { notes } from "./loro/support/client.js";

test("the list of the database's limits is what its functions ask for", () => {
  const asked = new Map<string, number>();
  for (const file of readdirSync("sql/documents", { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".sql")) continue;
    const text = readFileSync(`sql/documents/${file}`, "utf8");
    for (const [, name, fallback] of text.matchAll(/perch\.setting\('(\w+)', (\d+)\)/g))
      asked.set(String(name), Number(fallback));
  }
  expect(new Map(databaseLimits.map(({ name, fallback }) => [name, fallback]))).toEqual(asked);
});

test("every limit of the engine is a setting of its own, and a wrong one is named", () => {
  const variables = Object.keys(documentLimitTable).map(variableOf);
  const given = Object.fromEntries(
    [...variables, "PERCH_MAX_UPDATE_BYTES"].map((name, index) => [name, `${index + 7}`]),
  );
  const settings = serveSettings({ development: true }, given);
  const limits = Object.values(engineLimits(settings, settings.gateway.maxUpdateBytes));
  expect(limits.sort((a, b) => a - b)).toEqual(Object.keys(given).map((_, index) => index + 7));
  const unset = serveSettings({ development: true }, {});
  expect(engineLimits(unset, unset.gateway.maxUpdateBytes)).toEqual(defaultLimits);
  expect(() => serveSettings({ development: true }, { PERCH_MAX_DEPTH: "deep" })).toThrow("PERCH_MAX_DEPTH");
});

test("a document grows to its limit and no further, but stays readable, whichever way it is written to", async () => {
  const engine = createDocumentEngine({ threads: 1, limits: { documentBytes: 4_000 } });
  try {
    await engine.call("d", "load", ["d", notes, null, []]);
    const random = seededRandom(1);
    // What does not compress.
    const noise = (length: number) =>
      Array.from({ length }, () => String.fromCharCode(0x4e00 + Math.floor(random() * 20_000))).join("");
    const doc = new LoroDoc();
    const stored: Uint8Array[] = [];
    let refusal: unknown;
    let bytes = 0;
    // Letter by letter the updates are over the limit long before what is stored of them is.
    for (let count = 0; refusal === undefined && count < 20_000; count++) {
      const from = doc.oplogVersion();
      doc.getText("body").push(noise(1));
      doc.commit();
      const update = doc.export({ mode: "update", from });
      await engine.call("d", "import", ["d", [update]]).then(
        () => {
          stored.push(update);
          bytes += update.length;
        },
        (error: unknown) => {
          refusal = error;
        },
      );
    }
    expect(refusal).toMatchObject({ code: "PE413", detail: { limit: "document_bytes", max: 4_000, table: "notes" } });
    expect(bytes).toBeGreaterThan(40_000);
    await expect(engine.call("d", "patch", ["d", { extra: noise(5_000) }, "head"])).resolves.toBeDefined();
    await expect(engine.call("d", "patch", ["d", { title: "more" }, "head"])).rejects.toMatchObject({ code: "PE413" });
    expect((await engine.call("d", "project", ["d"])).data.body).toHaveLength(stored.length);
    const { snapshot } = await engine.call("d", "snapshot", ["d"]);
    await engine.call("d", "load", ["d", notes, snapshot, []]);
    expect((await engine.call("d", "project", ["d"])).data.body).toHaveLength(stored.length);
  } finally {
    await engine.close();
  }
});
