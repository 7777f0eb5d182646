import { randomBytes } from "node:crypto";
import { LoroDoc } from "loro-crdt";
import { expect, it, vi } from "vitest";
import type { DocumentEngine } from "../../src/documents/loro/engine.js";
import {
  connect,
  countingEngine,
  declare,
  eventually,
  fragileEngine,
  freshId,
  keyOf,
  pause,
  storedText,
  strangersUpdate,
} from "../documents/live/support.js";
import { describeBothKinds } from "../support/databases.js";
import { underWay } from "../support/until.js";
import { inbox, patchDocument, pushUpdate, record, replica, startWorkerNode } from "./support.js";

/** An engine whose imports take so much longer. */
function slowed(ms: number, began: () => void = () => undefined): DocumentEngine {
  const { engine } = countingEngine();
  const call: DocumentEngine["call"] = (key, method, args, options) => {
    if (method !== "import") return engine.call(key, method, args, options);
    began();
    return pause(ms).then(() => engine.call(key, method, args, options));
  };
  return { ...engine, call };
}

describeBothKinds("the worker's inbox", (open, engine) => {
  it("merges what SQL pushes, in order, and readers hear of it", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t);
    const key = keyOf(freshId());
    const reader = await connect(node, key);
    const author = replica();
    await t.asUser("ada", (tx) => pushUpdate(tx, key, author.type("pushed")));
    await eventually(() => reader.text() === "pushed");
    await t.asUser("ada", async (tx) => {
      await pushUpdate(tx, key, author.type(" twice"));
      await pushUpdate(tx, key, author.type(", in order"));
      await patchDocument(tx, key, { title: "t" });
    });
    await eventually(() => reader.text() === "pushed twice, in order");
    await eventually(() => reader.doc.getMap("fields").get("title") === "t");
    expect(await inbox(node.db)).toEqual([]);
    expect(await storedText(node.db, key)).toBe(reader.text());
    const rows = await node.db.query("select seq, pushed_seq from perch.document_updates order by seq");
    expect(rows).toEqual([
      { seq: 2, pushed_seq: 1 },
      { seq: 6, pushed_seq: 3 },
      { seq: 7, pushed_seq: 4 },
      { seq: 8, pushed_seq: 5 },
    ]);
  });

  it("gives a push that was rolled back to nobody", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t);
    const key = keyOf(freshId());
    const reader = await connect(node, key);
    const lost = t.asUser("ada", async (tx) => {
      await pushUpdate(tx, key, replica().type("lost"));
      throw new Error("rolled back");
    });
    await expect(lost).rejects.toThrow("rolled back");
    await t.asUser("ada", (tx) => pushUpdate(tx, key, replica().type("kept")));
    await eventually(() => reader.text() !== "");
    expect(reader.text()).toBe("kept");
    expect(await storedText(node.db, key)).toBe("kept");
  });

  it("sets aside what is bad, with its error, and goes on with what is behind it", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t);
    const [bad, good] = [keyOf("bad"), keyOf("good")];
    const reader = await connect(node, bad);
    const corrupt = strangersUpdate((doc) => doc.getText("body").insert(0, "corrupt"));
    corrupt.fill(0xff, 22);
    const author = replica();
    const missing = author.type("base");
    const orphan = author.type(" top");
    await t.asUser("ada", async (tx) => {
      await pushUpdate(tx, bad, corrupt);
      await pushUpdate(tx, bad, orphan);
      await pushUpdate(
        tx,
        bad,
        strangersUpdate((doc) => doc.getText("elsewhere").insert(0, "x")),
      );
      await pushUpdate(tx, bad, replica().type("behind"));
      await pushUpdate(tx, good, replica().type("beside"));
    });
    await eventually(() => reader.text() === "behind");
    await eventually(async () => (await storedText(node.db, good)) === "beside");
    expect(await inbox(node.db)).toMatchObject([
      { seq: 1, status: "rejected", error: { code: "PE422" } },
      { seq: 2, status: "rejected", error: { code: "PE422", message: expect.stringContaining("not here") } },
      { seq: 3, status: "rejected", error: { code: "PE422", detail: { field: "elsewhere" } } },
    ]);
    // What was refused for its missing base stays refused until somebody retries it.
    await t.asUser("ada", (tx) => pushUpdate(tx, bad, missing));
    await eventually(() => reader.text().includes("base"));
    expect(reader.text()).not.toContain("top");
    await node.db.query(
      "select perch.retry_update(space_id => '~ada', app_id => 'notes', table_name => 'pages', record_id => 'bad', seq => 2)",
    );
    await eventually(() => reader.text().includes("base top"));
  });

  it("sets aside what is bad also where its names hold what no jsonb does", async () => {
    const t = await open();
    await declare(t, { body: "text", extra: "json" });
    const node = await startWorkerNode(t);
    const key = keyOf(freshId());
    // An error names the place by so many letters: in one of these it cuts a character in two.
    const deep = (name: string) =>
      Array.from({ length: 120 }).reduce<object>((value) => ({ "🎉": value }), { [name]: 1 });
    await t.asUser("ada", async (tx) => {
      await pushUpdate(
        tx,
        key,
        strangersUpdate((doc) => doc.getMap("fields").set("a\0b", 1)),
      );
      for (const name of ["a", "ab", "abc"]) await patchDocument(tx, key, { extra: { [name]: deep(name) } });
      await pushUpdate(tx, key, replica().type("behind"));
    });
    await eventually(async () => (await storedText(node.db, key)) === "behind");
    expect(await inbox(node.db)).toMatchObject([
      { status: "rejected", error: { code: "PE422", detail: { field: "a\ufffdb" } } },
      ...Array.from({ length: 3 }, () => ({ status: "rejected", error: { code: "PE413" } })),
    ]);
  });

  it("keeps a push that brings nothing new out of the tail", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t);
    const key = keyOf(freshId());
    const reader = await connect(node, key);
    const update = replica().type("once");
    await t.asUser("ada", (tx) => pushUpdate(tx, key, update));
    await t.asUser("ada", (tx) => pushUpdate(tx, key, update));
    await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "once" }));
    await eventually(async () => (await inbox(node.db)).length === 0 && reader.text() === "once");
    expect(await node.db.query("select seq from perch.document_updates")).toHaveLength(1);
  });

  it("merges what was pushed while no worker ran", async () => {
    const t = await open();
    await declare(t);
    const keys = Array.from({ length: 30 }, () => keyOf(freshId()));
    await t.asUser("ada", async (tx) => {
      for (const key of keys) await pushUpdate(tx, key, replica().type("early"));
    });
    const node = await startWorkerNode(t);
    await eventually(async () => (await inbox(node.db)).length === 0);
    for (const key of keys) expect(await storedText(node.db, key)).toBe("early");
  });

  it("merges by its poll when no notification comes", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t, { deaf: true, settings: { pollMs: 100 } });
    const key = keyOf(freshId());
    const reader = await connect(node, key);
    await t.asUser("ada", (tx) => pushUpdate(tx, key, replica().type("unheard")));
    await eventually(() => reader.text() === "unheard");
  });

  it("patches every kind of field it is given, exactly", async () => {
    const t = await open();
    await declare(t, { title: "string", body: "text", count: "integer", likes: "counter", tags: "list" });
    await startWorkerNode(t);
    const key = keyOf(freshId());
    await t.asUser("ada", async (tx) => {
      await tx.query(
        `select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => $1,
           patch => '{"title": "T", "body": "B", "count": 9007199254740993, "likes": 2, "tags": ["a", "b"]}')`,
        [key.recordId],
      );
      await patchDocument(tx, key, { likes: 3 });
    });
    await eventually(async () => (await record(t.db, key))?.likes === 5);
    expect(await record(t.db, key)).toEqual({
      title: "T",
      body: "B",
      count: "9007199254740993",
      likes: 5,
      tags: ["a", "b"],
    });
  });

  if (engine === "PGlite") return;

  it("survives an update that takes its engine thread down, and sets it aside", async () => {
    const t = await open();
    await declare(t);
    const { engine, trapping } = fragileEngine();
    const node = await startWorkerNode(t, { engine });
    const [key, other] = [keyOf("trapped"), keyOf("other")];
    const [reader, bystander] = [await connect(node, key), await connect(node, other)];
    await bystander.type("before ");
    await t.asUser("ada", async (tx) => {
      await pushUpdate(tx, key, replica().type("first "));
      await pushUpdate(tx, key, trapping);
      await pushUpdate(tx, key, replica().type("last"));
    });
    await eventually(() => reader.text().length === 10);
    await bystander.type("after");
    expect(bystander.text()).toBe("before after");
    expect(await inbox(node.db)).toMatchObject([{ seq: 2, status: "rejected", error: { code: "PE422" } }]);
    expect(await storedText(node.db, key)).toBe(reader.text());
  });

  it("sets nothing aside for a thread that was lost to somebody else while its peers were read", async () => {
    const t = await open();
    await declare(t);
    const { engine: inner } = fragileEngine();
    const bomb = new LoroDoc();
    bomb.getText("body").insert(0, "x".repeat(3_900_000));
    const snapshot = bomb.export({ mode: "snapshot" });
    let bombs = 0;
    const call: DocumentEngine["call"] = (name, method, args, options) => {
      // Stands before it in the thread's line.
      if (method === "peers" && ++bombs === 1)
        void underWay(inner.call("eve", "unpack", [[snapshot]], { apart: true }));
      return inner.call(name, method, args, options);
    };
    const node = await startWorkerNode(t, { engine: { ...inner, call } });
    const key = keyOf(freshId());
    const long = randomBytes(50_000).toString("hex");
    await t.asUser("ada", (tx) => pushUpdate(tx, key, replica().type(long)));
    await eventually(async () => (await inbox(node.db)).every(({ status }) => status !== "pending"));
    expect(await inbox(node.db)).toEqual([]);
    expect(bombs).toBeGreaterThan(1);
    expect(await storedText(node.db, key)).toBe(long);
  });

  it("lets everybody have a turn beside documents that very much was pushed to", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t, { settings: { concurrency: 2 } });
    const busy = ["ada", "bob"];
    for (const user of busy)
      await t.asUser(user, (tx) => pushUpdate(tx, keyOf("busy", `~${user}`), replica().type("a")));
    await eventually(async () => (await inbox(node.db)).length === 0);
    await t.db.query(
      `insert into perch.document_inbox (space_id, app_id, table_name, record_id, seq, kind, patch, user_id)
       select '~' || u, 'notes', 'pages', 'busy', 1000 + n, 'patch', jsonb_build_object('title', n::text), u
         from generate_series(1, 400) n, unnest($1::text[]) u`,
      [busy],
    );
    await eventually(async () => (await inbox(node.db)).length < 800);
    const other = keyOf("other", "~cleo");
    await t.asUser("cleo", (tx) => pushUpdate(tx, other, replica().type("b")));
    await eventually(async () => (await storedText(node.db, other)) === "b");
    expect((await inbox(node.db)).length).toBeGreaterThan(400);
    await eventually(async () => (await inbox(node.db)).length === 0);
  });

  it("does not let one document's locked row keep the others waiting", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t, { settings: { concurrency: 2 } });
    const locked = Array.from({ length: 2 }, () => keyOf(freshId("locked")));
    const free = keyOf(freshId("free"));
    await t.asUser("ada", async (tx) => {
      for (const key of [...locked, free]) await pushUpdate(tx, key, replica().type("a"));
    });
    await eventually(async () => (await inbox(node.db)).length === 0);
    let unlock = () => {};
    const unlocked = new Promise<void>((done) => {
      unlock = done;
    });
    let isLocked = false;
    const holding = underWay(
      t.db.transaction(async (tx) => {
        await tx.query("select from perch.documents where record_id like 'locked%' for update");
        isLocked = true;
        await unlocked;
      }),
    );
    await eventually(() => isLocked);
    // Pushing needs the row as well, so what is pending there is put there directly.
    await t.db.query(
      `insert into perch.document_inbox (space_id, app_id, table_name, record_id, seq, kind, payload, user_id)
       select '~ada', 'notes', 'pages', unnest($1::text[]), 1000, 'update', $2, 'ada'`,
      [locked.map((key) => key.recordId), replica().type("b")],
    );
    await eventually(async () => {
      const waiting = await t.db.query(
        "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
      );
      return waiting.length > 0;
    });
    await t.asUser("ada", (tx) => pushUpdate(tx, free, replica().type("b")));
    await eventually(async () => (await storedText(node.db, free)).length === 2);
    unlock();
    await holding;
    for (const key of locked) await eventually(async () => (await storedText(node.db, key)).length === 2);
  });

  it("is claimed only as far as it is held in memory well, by length, and merged all the same", async () => {
    const t = await open();
    await declare(t);
    const key = keyOf(freshId());
    const claimed = async () => {
      const rows = await t.asWorker((tx) =>
        tx.query<{ bytes: number }>(
          `select coalesce(octet_length(payload), octet_length(patch)) as bytes from perch.claim_pending(
             space_id => '~ada', app_id => 'notes', table_name => 'pages', record_id => $1, max_count => 20)`,
          [key.recordId],
        ),
      );
      return rows.reduce((sum, { bytes }) => sum + bytes, 0);
    };
    for (let nth = 0; nth < 10; nth++)
      await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "x".repeat(2 ** 20) }));
    expect(await claimed()).toBeGreaterThan(7 * 2 ** 20);
    expect(await claimed()).toBeLessThan(9.5 * 2 ** 20);
    await t.db.query("delete from perch.document_inbox");
    const author = replica();
    for (let nth = 0; nth < 10; nth++) {
      const long = randomBytes(2 ** 19).toString("hex");
      await t.asUser("ada", (tx) => pushUpdate(tx, key, author.type(long)));
    }
    expect(await claimed()).toBeGreaterThan(7 * 2 ** 20);
    expect(await claimed()).toBeLessThan(9.5 * 2 ** 20);
    const node = await startWorkerNode(t, { settings: { pollMs: 60_000, foldBytes: Number.POSITIVE_INFINITY } });
    await eventually(async () => (await inbox(node.db)).length === 0);
    expect(await node.db.query("select count(*) as updates from perch.document_updates")).toEqual([{ updates: 10 }]);
  });

  it("that rests after something bad rests no more once the worker is closed", async () => {
    const t = await open();
    await declare(t);
    let began = () => {};
    const begun = new Promise<void>((done) => {
      began = done;
    });
    const node = await startWorkerNode(t, { engine: slowed(300, () => began()) });
    const bad = strangersUpdate((doc) => doc.getText("elsewhere").insert(0, "x"));
    await t.asUser("ada", (tx) => pushUpdate(tx, keyOf(freshId()), bad));
    await begun;
    const timers = vi.spyOn(globalThis, "setTimeout");
    await node.worker.close();
    expect(await inbox(node.db)).toMatchObject([{ status: "rejected" }]);
    expect(timers.mock.calls.filter(([, ms]) => ms === 2_000)).toEqual([]);
    timers.mockRestore();
  });
});
