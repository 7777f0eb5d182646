import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { expect, it } from "vitest";
import { type DeviceStorage, memoryStorage } from "../../../src/client/index.js";
import { keepDocument } from "../../../src/client/loro/index.js";
import { cleanup, officialClient, until } from "../../gateway/support.js";
import { testServer } from "../support.js";

const type = (doc: LoroDoc, letters: string) => {
  doc.getText("body").insert(0, letters);
  doc.commit();
};
const bodyOf = (doc: LoroDoc) => doc.getText("body").toString();

it("keeps every edit, in a few pieces, and gives all of them to the next page", async () => {
  const values = new Map<string, string>();
  const storage = memoryStorage(values);
  const doc = new LoroDoc();
  const kept = await keepDocument(doc, { key: "a", storage });
  for (let n = 0; n < 200; n++) {
    type(doc, `${n} `);
    if (n % 2 === 0) await kept.saved();
  }
  await kept.close();
  expect(values.size).toBeLessThan(51);
  const again = new LoroDoc();
  await keepDocument(again, { key: "a", storage });
  expect(bodyOf(again)).toBe(bodyOf(doc));
  const other = new LoroDoc();
  await keepDocument(other, { key: "b", storage });
  expect(bodyOf(other)).toBe("");
  // What was in a document before it is kept, too.
  const begun = new LoroDoc();
  type(begun, "begun");
  await keepDocument(begun, { key: "c", storage });
  await keepDocument(other, { key: "c", storage });
  expect(bodyOf(other)).toBe("begun");
});

it("has what was kept whenever it ends, and loses nothing of a tab beside it", async () => {
  for (let steps = 0, isOver = false; !isOver; steps++) {
    const values = new Map<string, string>();
    let left = steps;
    const inner = memoryStorage(values);
    const step = async <T>(work: () => Promise<T>): Promise<T> =>
      left-- > 0 ? work() : new Promise<never>(() => undefined);
    const storage: DeviceStorage = {
      ...inner,
      set: (key, value) => step(() => inner.set(key, value)),
      delete: (key) => step(() => inner.delete(key)),
    };
    const [doc, beside] = [new LoroDoc(), new LoroDoc()];
    await keepDocument(beside, { key: "a", storage: inner });
    type(beside, "beside");
    const kept = await keepDocument(doc, { key: "a", storage });
    let saved = "";
    const work = (async () => {
      for (let n = 0; n < 60; n++) {
        type(doc, `${n} `);
        await kept.saved();
        saved = bodyOf(doc);
      }
    })();
    await Promise.race([work, until(() => left < 0)]);
    isOver = left >= 0;
    const next = new LoroDoc();
    await keepDocument(next, { key: "a", storage: inner });
    for (const word of saved.split(" ")) expect(bodyOf(next)).toContain(word);
    expect(bodyOf(next)).toContain("beside");
  }
});

it("loses nothing of others while one tab makes a snapshot of the pieces that another reads", async () => {
  const values = new Map<string, string>();
  const storage = memoryStorage(values);
  const edit = async (doc: LoroDoc, tab: { saved(): Promise<void> }, times: number, letters: string) => {
    for (let n = 0; n < times; n++) {
      type(doc, letters);
      await tab.saved();
    }
  };
  const [first, second, third] = [new LoroDoc(), new LoroDoc(), new LoroDoc()];
  const one = await keepDocument(first, { key: "a", storage });
  await edit(first, one, 40, "x");
  const two = await keepDocument(second, { key: "a", storage });
  await edit(second, two, 1, "two");
  let isFirst = true;
  const keys = async () => {
    const listed = await storage.keys();
    if (isFirst) await edit(first, one, 10, "y");
    isFirst = false;
    return listed;
  };
  await keepDocument(third, { key: "a", storage: { ...storage, keys } });
  expect([...bodyOf(third)].sort().join("")).toBe(`otw${"x".repeat(40)}${"y".repeat(10)}`);

  // Of what was lost before: what builds on it stays until it can be read.
  const [fourth, fifth] = [new LoroDoc(), new LoroDoc()];
  const lost = new Map([...values].filter(([name]) => name.startsWith("a/")));
  const four = await keepDocument(fourth, { key: "a", storage });
  await edit(fourth, four, 1, "four");
  for (const name of lost.keys()) values.delete(name);
  const five = await keepDocument(fifth, { key: "a", storage });
  await edit(fifth, five, 60, "z");
  for (const [name, text] of lost) values.set(name, text);
  const last = new LoroDoc();
  await keepDocument(last, { key: "a", storage });
  expect(bodyOf(last)).toContain("four");
});

it("keeps what comes while it is loaded, and what is written to a document that shows an earlier version", async () => {
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  const first = new LoroDoc();
  const one = await keepDocument(first, { key: "a", storage: inner });
  type(first, "kept ");
  await one.close();

  const doc = new LoroDoc();
  let isFirst = true;
  const slow: DeviceStorage = {
    ...inner,
    async get(key) {
      const text = await inner.get(key);
      if (isFirst) type(doc, "meanwhile ");
      isFirst = false;
      return text;
    },
  };
  const two = await keepDocument(doc, { key: "a", storage: slow });
  type(doc, "after ");
  await two.saved();
  const next = new LoroDoc();
  await keepDocument(next, { key: "a", storage: inner });
  expect(bodyOf(next)).toBe(bodyOf(doc));

  const elsewhere = doc.fork();
  type(elsewhere, "elsewhere ");
  doc.checkout(first.frontiers());
  doc.import(elsewhere.export({ mode: "update" }));
  await two.saved();
  await two.close();
  const last = new LoroDoc();
  await keepDocument(last, { key: "a", storage: inner });
  expect(bodyOf(last)).toBe(bodyOf(elsewhere));
});

it("keeps all of what a shallow document has, beside pieces from before its beginning", async () => {
  const storage = memoryStorage();
  const whole = new LoroDoc();
  const one = await keepDocument(whole, { key: "a", storage });
  type(whole, "early ");
  await one.close();
  type(whole, "late ");
  const doc = LoroDoc.fromSnapshot(whole.export({ mode: "shallow-snapshot", frontiers: whole.frontiers() }));
  const two = await keepDocument(doc, { key: "a", storage });
  type(doc, "latest ");
  await two.close();
  const next = new LoroDoc();
  await keepDocument(next, { key: "a", storage });
  expect(bodyOf(next)).toBe(bodyOf(doc));
});

it("reads what is whole where a piece is damaged, says which is, and takes nothing of a document whose name goes on", async () => {
  const values = new Map<string, string>();
  const storage = memoryStorage(values);
  const doc = new LoroDoc();
  const kept = await keepDocument(doc, { key: "notes", storage });
  type(doc, "mine");
  await kept.close();
  const [good = ""] = values.values();
  const other = new LoroDoc();
  const otherKept = await keepDocument(other, { key: "notes/1", storage });
  type(other, "another's");
  await otherKept.close();
  const damaged = { cut: good.slice(0, 40), other: good.replace(/^.{8}/, "AAAAAAAA"), text: "no base64" };
  for (const [nth, text] of Object.values(damaged).entries())
    values.set(`notes/${String(nth).padStart(32, "0")}`, text);
  const errors: unknown[] = [];
  const next = new LoroDoc();
  await keepDocument(next, { key: "notes", storage, onError: (error) => errors.push(error) });
  expect(bodyOf(next)).toBe("mine");
  expect(errors.map(String)).toEqual(
    [0, 1, 2].map((nth) => expect.stringContaining(`${nth} in the storage is damaged`)),
  );
});

it("is there without a network, and joins when there is one, with what was written meanwhile on both sides", async () => {
  const server = await testServer();
  await server.db.query(
    `select perch.declare_table(app_id => 'app', table_name => 'notes', fields => '{"body": "text"}')`,
  );
  const storage = memoryStorage();
  const offline = new LoroDoc();
  const kept = await keepDocument(offline, { key: "n1", storage });
  type(offline, "on the train");
  await kept.close();

  const node = { url: server.syncUrl.replace("/sync", "") };
  const elsewhere = new LoroDoc();
  await officialClient(node, { token: "ada" }).join({
    roomId: "/app/notes/n1",
    crdtAdaptor: new LoroAdaptor(elsewhere),
  });
  type(elsewhere, "at home, ");

  const doc = new LoroDoc();
  const socket = officialClient(node, { token: "ada" });
  let tries = 0;
  const errors: unknown[] = [];
  const open = await keepDocument(doc, {
    key: "n1",
    storage,
    onError: (error) => errors.push(error),
    join: async () => {
      tries += 1;
      if (tries === 1) throw new Error("the token had expired");
      return socket.join({ roomId: "/app/notes/n1", crdtAdaptor: new LoroAdaptor(doc) });
    },
  });
  cleanup(() => open.close());
  expect(bodyOf(doc)).toBe("on the train");
  await open.joined;
  await until(() => bodyOf(elsewhere).length === bodyOf(doc).length && bodyOf(doc).length > 20);
  expect(bodyOf(doc)).toBe(bodyOf(elsewhere));
  expect(errors).toHaveLength(1);
  await open.saved();
  const third = new LoroDoc();
  await keepDocument(third, { key: "n1", storage });
  expect(bodyOf(third)).toBe(bodyOf(doc));
});

it("says what could not be kept, and tries again", async () => {
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  let full = true;
  const errors: unknown[] = [];
  const storage: DeviceStorage = {
    ...inner,
    set: async (key, value) => {
      if (full) throw new Error("quota exceeded");
      await inner.set(key, value);
    },
  };
  const doc = new LoroDoc();
  const kept = await keepDocument(doc, { key: "a", storage, onError: (error) => errors.push(error) });
  cleanup(() => kept.close());
  type(doc, "x");
  await until(() => errors.length > 1);
  full = false;
  await until(() => values.size === 1);
});
