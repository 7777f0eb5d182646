import { LoroDoc } from "loro-crdt";
import { describe, expect, it } from "vitest";
import { postgres, type TestDatabase } from "../../support/databases.js";
import { ada, connect, countingEngine, declare, eventually, freshId, keyOf, startNode, storedText } from "./support.js";

/** A line that went dead, as a driver reports it. */
const lineDead = () => Object.assign(new Error("Connection terminated unexpectedly"), { code: undefined });

/** However often it is tried: with others, with the notifications of others, and by itself. */
const chokesOn = (t: TestDatabase, word: string) =>
  t.db.transaction((tx) =>
    tx.script(`
      create function perch.disk_full() returns trigger language plpgsql as $$
        begin raise 'disk full' using errcode = '53100'; end $$;
      grant execute on function perch.disk_full() to perch_worker;
      create trigger disk_full before insert on perch.document_updates for each row
        when (position(convert_to(' ${word}', 'UTF8') in new.payload) > 0) execute function perch.disk_full()`),
  );

describe("nothing uncommitted leaves a live document", () => {
  const open = postgres(18);

  it("while a transaction is under way, to a reader who joins", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const key = keyOf(freshId());
    const writer = await connect(node, key);
    await writer.type("committed");
    const held = node.db.hold(/append_updates/, "before");
    const typing = writer.type(" uncommitted");
    await held;
    let joined = false;
    const joining = connect(node, key).then((client) => {
      joined = true;
      return client;
    });
    // Longer than a join that waits for nothing: of a document that has to be read first.
    await connect(node, keyOf(freshId()));
    expect(joined).toBe(false);
    node.db.go();
    await typing;
    expect((await joining).text()).toBe("committed uncommitted");
  });

  it("when the transaction fails: who joined meanwhile never sees it, and what followed it is refused with it", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const key = keyOf(freshId());
    const [writer, reader] = [await connect(node, key), await connect(node, key)];
    await writer.type("kept");
    // From then on it is known whose its peer is, and nothing has to be asked first.
    await reader.type("!", 0);
    await chokesOn(t, "lost");
    const held = node.db.hold(/append_updates/, "before");
    const first = writer.type(" lost");
    await held;
    const second = writer.type(" too");
    const joining = connect(node, key);
    const third = reader.type("!", 0);
    const outcomes = Promise.allSettled([first, second, third]);
    node.db.go();
    expect((await outcomes).map(({ status }) => status)).toEqual(["rejected", "rejected", "fulfilled"]);
    expect((await joining).text()).toMatch(/^!{1,2}kept$/);
    expect(reader.text()).toBe("!!kept");
    expect(await storedText(node.db, key)).toBe("!!kept");
    expect((await connect(node, key)).text()).toBe("!!kept");
  });

  it("when the transaction fails with what others wrote meanwhile: that is stored all the same", async () => {
    const t = await open();
    await declare(t);
    const { engine } = countingEngine();
    let imported = 0;
    const call: typeof engine.call = (key, method, args, options) => {
      const result = engine.call(key, method, args, options);
      const count = method === "importRun" ? (args[1] as unknown[]).length : Number(method === "import");
      result.then(
        (taken) => {
          // What is not taken together comes again by itself.
          if (method === "import" || (taken as { ends?: unknown } | undefined)?.ends) imported += count;
        },
        () => undefined,
      );
      return result;
    };
    const node = await startNode(t, { engine: { ...engine, call } });
    const key = keyOf(freshId());
    const clients = await Promise.all(Array.from({ length: 6 }, () => connect(node, key)));
    for (const [nth, client] of clients.entries()) await client.type(`${nth}`);
    await chokesOn(t, "lost");
    const held = node.db.hold(/append_updates/, "before");
    const first = clients[0]?.type("a");
    await held;
    imported = 0;
    const others = clients.map((client, nth) => client.type(nth === 2 ? " lost" : "b", 0));
    const outcomes = Promise.allSettled([first, ...others]);
    await eventually(() => imported === others.length, "everything to wait for the next transaction");
    node.db.go();
    const kept = "fulfilled";
    expect((await outcomes).map(({ status }) => status)).toEqual([kept, kept, kept, "rejected", kept, kept, kept]);
    expect(await storedText(node.db, key)).toBe("bbbbb012345a");
  });

  it("through a projection, a snapshot or an export of the copy", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const writer = await connect(node, keyOf(freshId()));
    await writer.type("committed");
    const held = node.db.hold(/append_updates/, "before");
    const typing = writer.type(" uncommitted").catch((error: unknown) => error);
    await held;
    const [snapshot, projection] = [writer.document.snapshot(), writer.document.project()];
    node.db.go(lineDead());
    await typing;
    const kept = new LoroDoc();
    kept.import((await snapshot).snapshot);
    expect(kept.getText("body").toString()).toBe("committed");
    expect(await projection).toMatchObject({ seq: 1, data: { body: "committed" } });
  });

  it("and writers do not wait for whoever looks at the copy", async () => {
    const t = await open();
    await declare(t);
    const { engine } = countingEngine();
    let answer: () => void = () => undefined;
    const answered = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const call: typeof engine.call = (key, method, args, options) => {
      const result = engine.call(key, method, args, options);
      return method === "project" || method === "snapshot" ? answered.then(() => result) : result;
    };
    const node = await startNode(t, { engine: { ...engine, call } });
    const client = await connect(node, keyOf(freshId()));
    await client.type("before");
    const [projection, snapshot] = [client.document.project(), client.document.snapshot()];
    await client.type(", and ");
    await client.type("after", 0);
    answer();
    expect(await projection).toMatchObject({ seq: 1, data: { body: "before" } });
    const kept = new LoroDoc();
    kept.import((await snapshot).snapshot);
    expect(kept.getText("body").toString()).toBe("before");
    expect((await client.document.project()).data.body).toBe("afterbefore, and ");
  });

  it("and writers of others do not wait for whoever is about to lock the document, nor its own for long", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const [locked, other] = [await connect(node, keyOf(freshId())), await connect(node, keyOf(freshId()))];
    await Promise.all([locked.type("a"), other.type("a")]);
    const lockedAt = performance.now();
    const unlock = locked.document.locked();
    let waited = Number.POSITIVE_INFINITY;
    const typing = locked.type("b").then(() => {
      waited = performance.now() - lockedAt;
    });
    await other.type("b");
    expect(waited).toBeGreaterThan(200);
    unlock();
    await typing;
    locked.document.locked();
    const began = performance.now();
    await locked.type("c");
    expect(performance.now() - began).toBeGreaterThan(200);
    expect(await storedText(node.db, locked.document.key)).toBe("abc");
  });

  it("and readers get exactly the committed text while several write and many join", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const key = keyOf(freshId());
    const writers = await Promise.all([1, 2, 3].map(() => connect(node, key)));
    let acknowledged = 0;
    const typing = writers.map(async (writer, index) => {
      for (let letter = 0; letter < 40; letter++) {
        await writer.type(String(index), letter % 7);
        acknowledged++;
      }
    });
    const lengths: [number, number][] = [];
    const joining = (async () => {
      for (let join = 0; join < 40; join++) {
        const before = acknowledged;
        const [stored, late] = [await storedText(node.db, key), await connect(node, key)];
        expect(late.doc.getText("body").length).toBeGreaterThanOrEqual(before);
        lengths.push([stored.length, late.text().length]);
      }
    })();
    await Promise.all([...typing, joining]);
    for (const [stored, joined] of lengths) expect(joined).toBeGreaterThanOrEqual(stored);
    const final = await storedText(node.db, key);
    expect(final).toHaveLength(120);
    await eventually(() => writers.every((writer) => writer.text() === final));
  });
});

describe("an append whose outcome nobody knows", () => {
  const open = postgres(18);

  it("was committed: it is refused, and readers get it all the same, once the document is read again", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const key = keyOf(freshId());
    const [writer, reader] = [await connect(node, key), await connect(node, key)];
    await writer.type("a");
    const held = node.db.hold(/append_updates/, "after");
    const typing = writer.type("b");
    await held;
    node.db.go(lineDead());
    await expect(typing).rejects.toThrow("Connection terminated");
    await reader.type("c", 0);
    expect(reader.text()).toBe("cab");
    expect(writer.text()).toBe("cab");
    expect((await connect(node, key)).text()).toBe("cab");
  });

  it("was not: the document goes on from what is stored", async () => {
    const t = await open();
    await declare(t);
    const db = await t.login("perch_worker");
    const node = await startNode(t, { db });
    const key = keyOf(freshId());
    const [writer, reader] = [await connect(node, key), await connect(node, key)];
    await writer.type("a");
    // The row is locked, so the statement is under way when its connection is cut.
    const typing = t.db.transaction(async (tx) => {
      await tx.query("select from perch.documents where record_id = $1 for update", [key.recordId]);
      const typed = writer.type("b").catch((error: unknown) => error);
      await eventually(async () => {
        const [waiting] = await tx.query<{ pid: number }>(
          `select pid from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock' and query ~ 'append_updates'`,
        );
        if (waiting) await tx.query("select pg_terminate_backend($1)", [waiting.pid]);
        return waiting !== undefined;
      });
      return typed;
    });
    expect(await typing).toBeInstanceOf(Error);
    await reader.type("c", 0);
    expect((await connect(node, key)).text()).toBe("ca");
    expect(await storedText(node.db, key)).toBe("ca");
  });

  it("with the database away: every append is refused, and the next one after its return is not", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const clients = await Promise.all([1, 2, 3].map(() => connect(node, keyOf(freshId()))));
    await Promise.all(clients.map((client) => client.type("a")));
    const query = node.db.query;
    const away = () => Promise.reject(Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" }));
    Object.assign(node.db, { query: away });
    const refused = await Promise.allSettled(clients.flatMap((client) => [client.type("b"), client.type("c")]));
    expect(refused.map(({ status }) => status)).toEqual(Array(6).fill("rejected"));
    Object.assign(node.db, { query });
    for (const client of clients) {
      const again = await connect(node, client.document.key);
      expect(again.text()).toBe("a");
      await again.type("d");
      expect(await storedText(node.db, client.document.key)).toBe("ad");
    }
  });
});

describe("a document whose author has sent half of a thought", () => {
  const open = postgres(18);

  it("never stores an update without the one it stands on", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const key = keyOf(freshId());
    const writer = await connect(node, key);
    await writer.type("0");
    for (let round = 0; round < 6; round++) {
      const held = node.db.hold(/append_updates/, round % 2 ? "before" : "after");
      const sent = ["x", "y", "z"].map((letter) => writer.type(letter));
      const outcomes = Promise.allSettled(sent);
      await held;
      node.db.go(lineDead());
      await outcomes;
      // Throws when something is missing beneath something else.
      const stored = await storedText(node.db, key);
      const late = await connect(node, key);
      expect(late.text()).toBe(stored);
      // Heals as clients do: what the server lacks is sent again.
      const joined = await writer.document.join(writer.doc.oplogVersion().encode(), () => undefined);
      for (const update of joined.updates) writer.doc.import(update);
      joined.leave();
      const everything = writer.doc.export({ mode: "update", from: late.doc.oplogVersion() });
      await writer.document.append([everything], ada, undefined);
    }
    expect(await storedText(node.db, key)).toBe(writer.text());
    expect(writer.text()).toHaveLength(19);
  });
});
