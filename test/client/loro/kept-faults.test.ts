import { LoroDoc } from "loro-crdt";
import { expect, it } from "vitest";
import { type DeviceStorage, memoryStorage } from "../../../src/client/index.js";
import { keepDocument } from "../../../src/client/loro/index.js";
import { pause } from "../../support/until.js";

const type = (doc: LoroDoc, letters: string) => {
  doc.getText("body").insert(0, letters);
  doc.commit();
};
const bodyOf = (doc: LoroDoc) => doc.getText("body").toString();

it("tries again once a pause, however many edits came while storage failed", async () => {
  let sets = 0;
  let told = 0;
  const storage: DeviceStorage = {
    ...memoryStorage(),
    set: async () => {
      sets++;
      throw new Error("quota exceeded");
    },
  };
  const doc = new LoroDoc();
  const kept = await keepDocument(doc, { key: "a", storage, onError: () => told++ });
  for (let n = 0; n < 300; n++) {
    type(doc, "x");
    await pause(1);
  }
  const before = sets;
  await pause(2_000);
  await kept.close().catch(() => undefined);
  expect(sets - before).toBeLessThan(10);
  expect(told).toBeLessThan(30);
});

it("joined does not resolve where the room was never joined", async () => {
  const kept = await keepDocument(new LoroDoc(), {
    key: "a",
    storage: memoryStorage(),
    join: async () => {
      throw new Error("no");
    },
  });
  await pause(50);
  await kept.close();
  expect(
    await Promise.race([
      kept.joined.then(
        () => "joined",
        () => "failed",
      ),
      pause(2_000).then(() => "waits"),
    ]),
  ).not.toBe("joined");
});

it("joined settles when it is closed while join waits for a network", async () => {
  const kept = await keepDocument(new LoroDoc(), {
    key: "a",
    storage: memoryStorage(),
    join: () => new Promise(() => undefined),
  });
  await kept.close();
  expect(
    await Promise.race([
      kept.joined.then(
        () => "joined",
        () => "failed",
      ),
      pause(2_000).then(() => "waits"),
    ]),
  ).not.toBe("waits");
});

it("keeps what others write to a document that shows an earlier version", async () => {
  const storage = memoryStorage();
  const doc = new LoroDoc();
  await keepDocument(doc, { key: "a", storage });
  type(doc, "one ");
  const f = doc.frontiers();
  type(doc, "two ");
  await pause(50);
  const elsewhere = doc.fork();
  type(elsewhere, "elsewhere ");
  doc.checkout(f);
  await pause(50);
  doc.import(elsewhere.export({ mode: "update" }));
  await pause(500);
  const next = new LoroDoc();
  await keepDocument(next, { key: "a", storage });
  expect(bodyOf(next)).toContain("elsewhere");
});

it("loses no edit of another tab that a shallow document cannot take, and does not call it damaged", async () => {
  const values = new Map<string, string>();
  const storage = memoryStorage(values);
  const whole = new LoroDoc();
  const one = await keepDocument(whole, { key: "a", storage });
  type(whole, "early ");
  await one.saved();
  const tab = whole.fork();
  type(whole, "late ");
  await one.close();
  // Written at the same time, in another tab, and on the device.
  const two = await keepDocument(tab, {
    key: "a",
    storage: { ...storage, keys: async () => [...values.keys()].slice(0, 1) },
  });
  type(tab, "concurrent ");
  await two.close();
  const errors: unknown[] = [];
  const doc = LoroDoc.fromSnapshot(whole.export({ mode: "shallow-snapshot", frontiers: whole.frontiers() }));
  const three = await keepDocument(doc, { key: "a", storage, onError: (e) => errors.push(e) });
  for (let n = 0; n < 60; n++) {
    type(doc, "z");
    await three.saved();
  }
  await three.close();
  const next = new LoroDoc();
  await keepDocument(next, { key: "a", storage, onError: (e) => errors.push(e) });
  expect([errors, bodyOf(next).includes("concurrent")]).toEqual([[], true]);
});

it("closes where a write hangs", async () => {
  const storage: DeviceStorage = { ...memoryStorage(), set: () => new Promise(() => undefined) };
  const doc = new LoroDoc();
  const kept = await keepDocument(doc, { key: "a", storage });
  type(doc, "x");
  await pause(50);
  expect(
    await Promise.race([
      kept.close().then(
        () => "closed",
        () => "failed",
      ),
      pause(12_000).then(() => "waits"),
    ]),
  ).not.toBe("waits");
});

it("two calls for one doc lose nothing and keep few pieces", async () => {
  const values = new Map<string, string>();
  const storage = memoryStorage(values);
  const doc = new LoroDoc();
  const [a, b] = await Promise.all([
    keepDocument(doc, { key: "a", storage }),
    keepDocument(doc, { key: "a", storage }),
  ]);
  for (let n = 0; n < 230; n++) {
    type(doc, `${n} `);
    await pause(1);
  }
  await a.close();
  type(doc, "after ");
  await b.close();
  const next = new LoroDoc();
  await keepDocument(next, { key: "a", storage });
  expect(bodyOf(next)).toBe(bodyOf(doc));
  expect(values.size).toBeLessThan(110);
});

it("leaves to the app what it says of its next commit", async () => {
  const doc = new LoroDoc();
  const kept = await keepDocument(doc, { key: "a", storage: memoryStorage() });
  type(doc, "x");
  await pause(20);
  doc.setNextCommitMessage("mine");
  await kept.saved();
  type(doc, "y");
  const messages = [...doc.getAllChanges().values()].flat().map((c) => c.message);
  expect(messages).toContain("mine");
});

it("does not report a failure to saved where everything is kept", async () => {
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  const storage = {
    ...inner,
    delete: async () => {
      throw new Error("busy");
    },
  };
  const doc = new LoroDoc();
  const kept = await keepDocument(doc, { key: "a", storage });
  const failed: number[] = [];
  for (let n = 0; n < 60; n++) {
    type(doc, "x");
    await kept.saved().catch(() => failed.push(n));
  }
  const next = new LoroDoc();
  await keepDocument(next, { key: "a", storage: inner });
  expect(failed).toEqual([]);
});

it("removes the old pieces when removing them failed once", async () => {
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  let fails = 1;
  const storage = {
    ...inner,
    delete: async (k: string) => {
      if (fails-- > 0) throw new Error("busy");
      await inner.delete(k);
    },
  };
  const doc = new LoroDoc();
  const kept = await keepDocument(doc, { key: "a", storage });
  for (let n = 0; n < 149; n++) {
    type(doc, "x");
    await kept.saved().catch(() => undefined);
  }
  await kept.close();
  expect(values.size).toBeLessThan(60);
});

it("lets no rejection go unhandled where onError throws", async () => {
  const unhandled: unknown[] = [];
  const on = (e: unknown) => unhandled.push(e);
  const before = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", on);
  let full = true;
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  const storage = {
    ...inner,
    set: async (k: string, v: string) => {
      if (full) throw new Error("quota");
      await inner.set(k, v);
    },
  };
  const doc = new LoroDoc();
  const kept = await keepDocument(doc, {
    key: "a",
    storage,
    onError: () => {
      throw new Error("a callback that broke");
    },
  });
  type(doc, "x");
  await pause(300);
  full = false;
  await pause(3_000);
  process.off("unhandledRejection", on);
  for (const l of before) process.on("unhandledRejection", l);
  await kept.close();
  expect([unhandled, values.size]).toEqual([[], 1]);
});

it("loads a document in about the time that Loro takes", async () => {
  const made = new LoroDoc();
  for (let i = 0; i < 20_000; i++) {
    made.getMap("m").set(`k${i % 5000}`, `${i} `.repeat(15));
    made.getText("t").insert(made.getText("t").length, "word ");
    if (i % 10 === 0) made.commit();
  }
  const storage = memoryStorage();
  await (await keepDocument(made, { key: "a", storage })).close();
  const bytes = made.export({ mode: "snapshot" });
  let t = performance.now();
  const plain = new LoroDoc();
  plain.import(bytes);
  plain.toJSON();
  const plainMs = performance.now() - t;
  t = performance.now();
  await keepDocument(new LoroDoc(), { key: "a", storage });
  const ms = performance.now() - t;
  expect(ms).toBeLessThan(plainMs * 20 + 1_000);
});
