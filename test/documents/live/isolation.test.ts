import { LoroDoc } from "loro-crdt";
import { describe, expect, it } from "vitest";
import type { Database } from "../../../src/database/types.js";
import { describeBothKinds, postgres } from "../../support/databases.js";
import {
  ada,
  connect,
  declare,
  fragileEngine,
  freshId,
  keyOf,
  startNode,
  storedText,
  strangersUpdate,
} from "./support.js";

/** An update that builds on one that the server was never sent. */
function orphan(): Uint8Array {
  const doc = new LoroDoc();
  doc.getText("body").insert(0, "lost");
  doc.commit();
  const from = doc.oplogVersion();
  doc.getText("body").insert(4, " and found");
  doc.commit();
  return doc.export({ mode: "update", from });
}

const garbage = () => Uint8Array.from({ length: 64 }, (_, index) => index);
const undeclared = () => strangersUpdate((doc) => doc.getText("elsewhere").insert(0, "x"));

describeBothKinds("a live document under hostile updates", (open) => {
  it("refuses each with its reason, and no reader hears of it", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const client = await connect(node, keyOf(freshId()));
    await client.type("honest");
    for (const update of [garbage(), orphan(), undeclared()]) {
      await expect(client.document.append([update], ada, undefined)).rejects.toMatchObject({ code: "PE422" });
    }
    await expect(client.document.append([undeclared()], ada, undefined)).rejects.toThrow(/elsewhere/);
    await client.type(" still");
    expect(client.heard).toHaveLength(2);
    expect(await storedText(node.db, client.document.key)).toBe("honest still");
    expect((await connect(node, client.document.key)).text()).toBe("honest still");
  });

  it("loses nothing of what honest writers send in between", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const key = keyOf(freshId());
    const [one, two] = [await connect(node, key), await connect(node, key)];
    const refused: Promise<unknown>[] = [];
    const sent: Promise<unknown>[] = [];
    for (let round = 0; round < 15; round++) {
      sent.push(one.type("a"), two.type("b"));
      for (const update of [garbage(), orphan(), undeclared()]) {
        refused.push(
          one.document.append([update], ada, undefined).then(
            () => "accepted",
            (error) => error.code,
          ),
        );
      }
      sent.push(one.type("c"));
    }
    await Promise.all(sent);
    expect(new Set(await Promise.all(refused))).toEqual(new Set(["PE422"]));
    const late = await connect(node, key);
    expect(late.text()).toHaveLength(45);
    expect(one.text()).toBe(late.text());
    expect(two.text()).toBe(late.text());
    expect(await storedText(node.db, key)).toBe(late.text());
  });

  it("never counts an update without its base, even when the base comes later", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const key = keyOf(freshId());
    const client = await connect(node, key);
    const doc = new LoroDoc();
    doc.getText("body").insert(0, "base");
    doc.commit();
    const base = doc.export({ mode: "update" });
    const from = doc.oplogVersion();
    doc.getText("body").insert(4, " top");
    doc.commit();
    const top = doc.export({ mode: "update", from });
    await expect(client.document.append([top], ada, undefined)).rejects.toMatchObject({ code: "PE422" });
    await client.document.append([base], ada, undefined);
    expect((await connect(node, key)).text()).toBe("base");
    await client.document.append([top], ada, undefined);
    expect((await connect(node, key)).text()).toBe("base top");
  });
});

describe("an engine thread that is lost", () => {
  const open = postgres(18);

  it("costs the document that did it an error, and the others a reload nobody notices", async () => {
    const t = await open();
    await declare(t);
    const { engine, trapping } = fragileEngine();
    const node = await startNode(t, { engine });
    const clients = await Promise.all([1, 2, 3].map(() => connect(node, keyOf(freshId()))));
    await Promise.all(clients.map((client) => client.type("before ")));
    const victim = await connect(node, keyOf(freshId()));
    const lost = new Promise<void>((tell) => node.engine.onReplaced(() => tell()));
    const hostile = victim.document.append([trapping], ada, undefined);
    const typed = clients.map((client) => client.type("during "));
    await expect(hostile).rejects.toMatchObject({ code: "PE422" });
    await lost;
    await Promise.all(typed);
    await Promise.all(clients.map((client) => client.type("after")));
    for (const client of clients) {
      expect(client.text()).toBe("before during after");
      expect((await connect(node, client.document.key)).text()).toBe("before during after");
      expect(await storedText(node.db, client.document.key)).toBe("before during after");
    }
  });
});

describe("the transaction that many documents share", () => {
  const open = postgres(18);

  it("fails for the one document that the database refuses, and for no other", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    await t.db.query(`
      create function refuse() returns trigger language plpgsql as $$
      begin
        if new.record_id like 'refused%' then raise exception 'not this one' using errcode = '23514'; end if;
        return new;
      end $$`);
    await t.db.query(
      "create trigger refuse before insert on perch.document_updates for each row execute function refuse()",
    );
    const refused = await connect(node, keyOf(freshId("refused")));
    const others = await Promise.all([1, 2, 3, 4].map(() => connect(node, keyOf(freshId()))));
    for (let round = 0; round < 5; round++) {
      const results = await Promise.allSettled([refused, ...others].map((client) => client.type("x")));
      expect(results.map(({ status }) => status)).toEqual(["rejected", ...others.map(() => "fulfilled")]);
    }
    for (const client of others) expect(await storedText(node.db, client.document.key)).toBe("xxxxx");
    expect((await connect(node, refused.document.key)).text()).toBe("");
    expect(refused.heard).toEqual([]);
  });

  it("does not wait for a document whose row somebody keeps locked", async () => {
    const t = await open();
    await declare(t);
    const worker = await t.login("perch_worker");
    let gaveUp = 0;
    const query: Database["query"] = (sql, params, how) =>
      worker.query(sql, params, how).catch((error: { code?: string }) => {
        gaveUp += Number(error.code === "55P03");
        throw error;
      }) as Promise<never>;
    const node = await startNode(t, { db: { ...worker, query } });
    const locked = await connect(node, keyOf(freshId()));
    const others = await Promise.all([1, 2, 3].map(() => connect(node, keyOf(freshId()))));
    await Promise.all([locked, ...others].map((client) => client.type("a")));

    let unlock = () => {};
    let holding: Promise<void> = Promise.resolve();
    await new Promise<void>((held) => {
      holding = t.db.transaction(async (tx) => {
        await tx.query("select from perch.documents where record_id = $1 for update", [locked.document.key.recordId]);
        held();
        await new Promise<void>((done) => {
          unlock = done;
        });
      });
    });
    let arrived = false;
    const waiting = locked.type("b").then(() => {
      arrived = true;
    });
    const started = performance.now();
    for (let round = 0; round < 10; round++) await Promise.all(others.map((client) => client.type("b")));
    // The one that it shared with the first of them waited for its row, and since then it waits by itself, for two seconds at a time.
    expect(gaveUp).toBeLessThanOrEqual(2 + (performance.now() - started) / 2_000);
    expect(arrived).toBe(false);
    unlock();
    await holding;
    await waiting;
    expect(await storedText(node.db, locked.document.key)).toBe("ab");
    await Promise.all([locked, ...others].map((client) => client.type("c")));
  });

  it("does not wait for what is large, which goes by itself", async () => {
    const t = await open();
    await declare(t);
    // For so long that whoever waits for the same transaction is seen to.
    const node = await startNode(t, { limits: { patienceMs: 600_000, ownPatienceMs: 600_000 } });
    const [large, other] = [await connect(node, keyOf(freshId())), await connect(node, keyOf(freshId()))];
    await Promise.all([large.type("a"), other.type("a")]);
    let unlock = () => {};
    let holding: Promise<void> = Promise.resolve();
    await new Promise<void>((held) => {
      holding = t.db.transaction(async (tx) => {
        await tx.query("select from perch.documents where record_id = $1 for update", [large.document.key.recordId]);
        held();
        await new Promise<void>((done) => {
          unlock = done;
        });
      });
    });
    const letters = "x".repeat(100_000);
    const stored = large.type(letters);
    for (let n = 0; n < 3; n++) await other.type("b");
    expect(await storedText(node.db, large.document.key)).toBe("a");
    unlock();
    await Promise.all([holding, stored]);
    expect(await storedText(node.db, large.document.key)).toBe(`a${letters}`);
    expect(await storedText(node.db, other.document.key)).toBe("abbb");
  });

  it("does not let an update in that stands on a refused one", async () => {
    const t = await open();
    await declare(t);
    await t.asUser("ada", (tx) => tx.query("select perch.create_space(space_id => 'team')"));
    await t.asUser("ada", (tx) =>
      tx.query("select perch.set_space_member(space_id => 'team', user_id => 'bob', role => 'viewer')"),
    );
    const node = await startNode(t);
    const key = keyOf(freshId(), "team");
    const client = await connect(node, key);
    const doc = new LoroDoc();
    doc.getText("body").insert(0, "base");
    doc.commit();
    const base = doc.export({ mode: "update" });
    const from = doc.oplogVersion();
    doc.getText("body").insert(4, " top");
    doc.commit();
    const top = doc.export({ mode: "update", from });
    await client.type("first ");
    // While this is under way both get ready, and would share the next transaction.
    const held = node.db.hold(/append_updates/, "after");
    const typing = client.type("second ");
    await held;
    const both = Promise.allSettled([
      client.document.append([base], { userId: "bob" }, undefined),
      client.document.append([top], ada, undefined),
    ]);
    // What cannot be read is refused in its turn, when both are in the copy: they share the next transaction.
    const unreadable = client.document.append([garbage()], { userId: "cleo" }, undefined);
    await expect(unreadable).rejects.toMatchObject({ code: "PE422" });
    node.db.go();
    await typing;
    const [first, second] = await both;
    expect(first).toMatchObject({ status: "rejected", reason: { code: "PE403" } });
    expect(second).toMatchObject({ status: "rejected", reason: { code: "PE422" } });
    await client.type("third");
    expect(await storedText(node.db, key)).toBe("first second third");
    expect(client.heard).toHaveLength(3);
  });
});
