import { LoroDoc } from "loro-crdt";
import { afterAll, describe, expect, test } from "vitest";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { seededRandom } from "../../support/traces.js";
import { notes, projection } from "./support/client.js";
import { newClient, randomCommit } from "./support/edits.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());

describe("honest clients", () => {
  test("may do whatever Loro can do inside the declared fields, in any order, and never are refused", async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = seededRandom(seed);
      const id = `session ${seed}`;
      await engine.call(id, "load", [id, notes, null, []]);
      const clients = [newClient(), newClient(), newClient()];
      const pull = async (doc: LoroDoc) => {
        const { updates } = await engine.call(id, "exportFrom", [id, doc.oplogVersion().encode()]);
        for (const update of updates) doc.import(update);
      };
      const sent = clients.map((doc) => doc.oplogVersion());
      for (let step = 0; step < 60; step++) {
        const index = Math.floor(random() * clients.length);
        const doc = clients[index] as LoroDoc;
        if (random() < 0.7) randomCommit(doc, random);
        if (random() < 0.5) {
          const update = doc.export({ mode: random() < 0.1 ? "snapshot" : "update", from: sent[index] });
          await engine.call(id, "import", [id, [update]]);
          sent[index] = doc.oplogVersion();
        }
        if (random() < 0.3) await pull(doc);
      }
      for (const doc of clients) await engine.call(id, "import", [id, [doc.export({ mode: "update" })]]);
      const texts = new Set<string>();
      for (const doc of clients) {
        await pull(doc);
        texts.add(doc.getText("body").toString());
      }
      expect(texts.size).toBe(1);
      const data = await projection(engine, id);
      expect(data.body ?? "").toBe([...texts][0]);
      const { snapshot } = await engine.call(id, "snapshot", [id]);
      await engine.call(id, "load", ["copy", notes, snapshot, []]);
      expect(await engine.call(id, "project", ["copy"])).toEqual({ data });
      for (const { index } of clients.map((_, index) => ({ index }))) clients[index]?.free();
      await engine.call(id, "drop", [id]);
    }
  });

  test("may send operations again together with new ones, whatever objects are in them", async () => {
    await engine.call("again", "load", ["again", notes, null, []]);
    const doc = new LoroDoc();
    for (let step = 0; step < 10; step++) {
      const item = Object.fromEntries(
        Array.from({ length: 3 + step }, (_, index) => [`${index * 7919}`.slice(-3), index]),
      );
      const { update } = await engine.call("again", "patch", ["again", { tags: [{ nested: item }] }, "head"]);
      if (update) doc.import(update);
      doc.getText("body").insert(0, `${step}`);
      doc.commit();
      // All there is, of which only the last is new: Loro gives the keys of the objects in any order.
      await engine.call("again", "import", ["again", [doc.export({ mode: "update" })]]);
    }
    expect((await projection(engine, "again")).body).toBe("9876543210");
    await engine.call("again", "drop", ["again"]);
  });

  test("may send again what they took back letter by letter, with more of it", async () => {
    await engine.call("back", "load", ["back", notes, null, []]);
    const doc = newClient();
    const body = doc.getText("body");
    body.insert(0, "abcdef");
    doc.commit();
    for (let length = 6; length > 1; length--) {
      body.delete(length - 1, 1);
      doc.commit();
      await engine.call("back", "import", ["back", [doc.export({ mode: length % 3 ? "update" : "snapshot" })]]);
    }
    expect((await projection(engine, "back")).body).toBe("a");
    await engine.call("back", "drop", ["back"]);
  });

  test("may type and delete anywhere in what others type, and send any of it at any time, again and again", async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = seededRandom(seed);
      const below = (limit: number) => Math.floor(random() * limit);
      const id = `mixed ${seed}`;
      await engine.call(id, "load", [id, notes, null, []]);
      const clients = [newClient(), newClient(), newClient()];
      // Loro orders peers by their ids.
      for (const doc of clients) doc.setPeerId(`${1 + below(1e9)}`);
      for (let step = 0; step < 80; step++) {
        const doc = clients[below(3)] as LoroDoc;
        const choice = random();
        if (choice < 0.7) {
          const body = doc.getText("body");
          for (let edits = below(5); edits >= 0; edits--) {
            if (body.length > 4 && random() < 0.45) body.delete(below(body.length - 3), 1 + below(3));
            else body.insert(below(body.length + 1), "abcdef".slice(0, 1 + below(6)));
            doc.commit();
          }
        } else if (choice < 0.85) doc.import((clients[below(3)] as LoroDoc).export({ mode: "update" }));
        else await engine.call(id, "import", [id, [doc.export({ mode: random() < 0.5 ? "snapshot" : "update" })]]);
      }
      for (const doc of clients) await engine.call(id, "import", [id, [doc.export({ mode: "update" })]]);
      const merged = newClient();
      for (const doc of clients) merged.import(doc.export({ mode: "update" }));
      expect((await projection(engine, id)).body).toBe(merged.getText("body").toString());
      await engine.call(id, "drop", [id]);
      for (const doc of [...clients, merged]) doc.free();
    }
  });

  test("may come back after a long time away, in which they and others typed and took back hundreds of words", async () => {
    const random = seededRandom(7);
    const words = new Map<LoroDoc, string[]>();
    const write = (doc: LoroDoc, count: number) => {
      const own = words.get(doc) ?? [];
      words.set(doc, own);
      const body = doc.getText("body");
      for (let n = 0; n < count; n++) {
        const shown = body.toString();
        const word = random() < 0.3 ? own.splice(Math.floor(random() * own.length), 1)[0] : undefined;
        if (word === undefined) {
          own.push(`<${doc.peerIdStr}.${own.length}.${n}>`);
          const at = shown.indexOf("<", Math.floor(random() * (shown.length + 1)));
          body.insert(at < 0 ? shown.length : at, own.at(-1) ?? "");
        } else body.delete(shown.indexOf(word), word.length);
        doc.commit();
      }
    };
    await engine.call("away", "load", ["away", notes, null, []]);
    const [here, away] = [newClient(), newClient()];
    write(here, 300);
    away.import(here.export({ mode: "update" }));
    write(away, 50);
    here.import(away.export({ mode: "update" }));
    await engine.call("away", "import", ["away", [here.export({ mode: "update" })]]);
    const left = away.oplogVersion();
    write(away, 600);
    const stayed = here.oplogVersion();
    write(here, 600);
    await engine.call("away", "import", ["away", [here.export({ mode: "update", from: stayed })]]);
    // In less time than the engine grants an update; it used to take several times as long.
    await engine.call("away", "import", ["away", [away.export({ mode: "update", from: left })]]);
    here.import(away.export({ mode: "update" }));
    expect((await projection(engine, "away")).body).toBe(here.getText("body").toString());
    await engine.call("away", "drop", ["away"]);
  });
});
