import { LoroDoc } from "loro-crdt";
import { afterAll, describe, expect, test } from "vitest";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { PerchError } from "../../../src/errors.js";
import { seededRandom } from "../../support/traces.js";
import { author, serve } from "./support/author.js";
import { notes } from "./support/client.js";
import { corrupt } from "./support/corrupt.js";
import { newClient, randomCommit } from "./support/edits.js";

const engine = createDocumentEngine({ threads: 2, timeoutMs: 5_000, quarantineMs: 500 });
afterAll(() => engine.close());

const corruptions = Number(process.env.PERCH_FUZZ ?? 3_000);

describe("thousands of forged updates", () => {
  test("take down no document, enter none that they would make unreadable, and cost honest authors nothing", async () => {
    const seed = Number(process.env.PERCH_FUZZ_SEED ?? 1);
    const random = seededRandom(seed);
    const victims = [serve(engine, "victim a"), serve(engine, "victim b")];
    const bystanders = Array.from({ length: 6 }, (_, index) => serve(engine, `bystander ${index}`));
    const authors = [...victims, ...bystanders].map((document, index) => author(document, seededRandom(100 + index)));
    for (const { edit } of authors) await edit();

    const outcomes = { accepted: 0, refused: 0, trapped: 0, timedOut: 0 };
    let forged = 0;
    while (forged < corruptions) {
      const victim = victims[forged % victims.length] ?? victims[0];
      if (!victim) break;
      const during = random() < 0.5 ? authors[victims.length + ((forged / 10) % bystanders.length)]?.edit() : undefined;
      // A forger who has the document, and changes a few bytes of an honest update.
      const forger = newClient();
      for (const update of victim.stored) forger.import(update);
      const from = forger.oplogVersion();
      randomCommit(forger, random);
      const honest = forger.export(random() < 0.8 ? { mode: "update", from } : { mode: "snapshot" });
      for (let copies = 0; copies < 10; copies++, forged++) {
        // Tried on what is stored, and not kept: thousands of accepted ones would be a document of their own.
        const before = victim.stored.length;
        const error: unknown = await victim.accept(corrupt(honest, random)).catch((refusal: unknown) => refusal);
        if (victim.stored.length > before) {
          outcomes.accepted++;
          await expectReadable(victim);
          victim.stored.length = before;
          await engine.call(victim.id, "drop", [victim.id]);
        } else if (error instanceof PerchError) {
          expect(["PE422", "PE413"]).toContain(error.code);
          const { reason } = error.detail as { reason?: string };
          if (reason === "trapped") outcomes.trapped++;
          else if (reason === "timed out") outcomes.timedOut++;
          else outcomes.refused++;
        } else if (error !== undefined) throw error;
      }
      await Promise.all([during, random() < 0.3 ? authors[(forged / 10) % victims.length]?.edit() : undefined]);
    }
    console.log(`seed ${seed}: ${JSON.stringify(outcomes)}, threads replaced: ${engine.stats().replaced}`);
    expect(outcomes.refused).toBeGreaterThan(corruptions / 3);

    for (const [index, document] of [...victims, ...bystanders].entries()) {
      const { updates } = await document.use(() =>
        engine.call(document.id, "exportFrom", [document.id, new Uint8Array([0])]),
      );
      const [reader, typed] = [new LoroDoc(), new LoroDoc()];
      for (const update of updates) reader.import(update);
      // Nobody else edited, so what the author typed is the document.
      typed.import(authors[index]?.doc.export({ mode: "update" }) ?? new Uint8Array());
      expect(reader.toJSON()).toEqual(typed.toJSON());
    }
  }, 600_000);

  /** Whatever anybody will do with the document later on. */
  async function expectReadable(document: ReturnType<typeof serve>): Promise<void> {
    const { id, stored, use } = document;
    const { data } = await use(() => engine.call(id, "project", [id]));
    const { updates } = await use(() => engine.call(id, "exportFrom", [id, new Uint8Array([0])]));
    const { snapshot } = await use(() => engine.call(id, "snapshot", [id]));
    for (const [copy, whole, tail] of [
      ["folded", snapshot, []],
      ["client", null, updates],
      ["stored", null, stored],
    ] as const) {
      await engine.call(id, "load", [copy, notes, whole, tail]);
      expect(await engine.call(id, "project", [copy])).toEqual({ data });
      // Back to the beginning and on from there.
      await engine.call(id, "patch", [copy, { title: "later", body: "later", tags: [1], outline: [] }, { ends: {} }]);
      await engine.call(id, "snapshot", [copy]);
      await engine.call(id, "drop", [copy]);
    }
  }
});
