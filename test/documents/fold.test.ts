import { LoroDoc } from "loro-crdt";
import { expect, it } from "vitest";
import type { Database } from "../../src/database/types.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { foldDocument } from "../../src/worker/project.js";
import { describeSomePostgres, postgres, type TestDatabase } from "../support/databases.js";
import { lendEngine } from "../support/engines.js";
import { startWorkerNode } from "../worker/support.js";
import {
  ada,
  type Client,
  cleanup,
  connect,
  declare,
  eventually,
  keyOf,
  type Node,
  startNode,
  storedText,
} from "./live/support.js";

const key = keyOf("folded");

/** Every statement of perch.fold_document, by the table it changes: a backend can be stopped before and after each. */
const steps = [
  ["before", "insert or update", "document_snapshots"],
  ["after", "insert or update", "document_snapshots"],
  ["before", "delete", "document_updates"],
  ["after", "delete", "document_updates"],
  ["before", "insert", "document_history"],
  ["after", "insert", "document_history"],
  ["before", "update", "documents"],
  ["after", "update", "documents"],
] as const;

/** Has whoever folds do `what` at a step. Out: ends that. */
async function atStep(t: TestDatabase, [when, event, table]: (typeof steps)[number], what: string) {
  await t.db.query(`
    create or replace function public.at_step() returns trigger language plpgsql as $$
    begin
      if position('fold_document' in current_query()) > 0 then
        ${what}
      end if;
      return null;
    end $$`);
  await t.db.query(
    `create trigger at_step ${when} ${event} on perch.${table} for each statement execute function public.at_step()`,
  );
  return () => t.db.query(`drop trigger at_step on perch.${table}`);
}

it("a document that is written without end by a DocumentStore is folded all the same", async () => {
  const t = await postgres(18)();
  await declare(t);
  const engine = lendEngine();
  cleanup(() => engine.close());
  const store = new DocumentStore({ engine });
  const doc = new LoroDoc();
  // Each update writes the whole record.
  const write = () =>
    t.asUser("ada", (tx) => {
      const from = doc.oplogVersion();
      doc.getText("body").insert(0, "x");
      doc.commit();
      return store.applyUpdate(tx, { ...key, spaceId: null }, doc.export({ mode: "update", from }));
    });
  await write();
  await t.db.query("update perch.documents set tail_count = 2998");
  await write();
  expect(await t.db.query("select from perch.document_queue")).toHaveLength(0);
  for (let n = 0; n < 3; n++) await write();
  expect(await t.db.query("select from perch.document_queue")).toHaveLength(1);
  await startWorkerNode(t);
  await eventually(async () => (await t.db.query("select from perch.documents where snapshot_seq > 0")).length === 1);
});

const die = "perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(60);";
/** Until nothing is in public.held any more. */
const wait = "while exists (select from public.held) loop perform pg_sleep(0.01); end loop;";

/** Whoever folds. */
const foldingSql = `
  select from pg_stat_activity
   where datname = current_database() and state = 'active' and query like '%fold_document%' and pid <> pg_backend_pid()`;
/** Whoever folds and is asleep right now: reached, and left for a moment each time that they look whether to go on. */
const asleepSql = `${foldingSql} and wait_event = 'PgSleep'`;

async function typed(node: Node, letters: string): Promise<Client> {
  const client = await connect(node, key);
  for (const letter of letters) await client.type(letter);
  return client;
}

/** What a reader gets who reads the tables, and one who asks for everything after each position. */
async function expectReadable(t: TestDatabase, db: Database, text: string): Promise<void> {
  expect(await storedText(db, key)).toBe(text);
  const [head] = await t.db.query<{ merged_seq: number }>("select merged_seq from perch.documents");
  const doc = new LoroDoc();
  let after = 0;
  while (after < (head?.merged_seq ?? 0)) {
    const [state] = await t.asUser("ada", (tx) =>
      tx.query<{ snapshot: Uint8Array | null; updates: Uint8Array[]; head_seq: number }>(
        "select * from perch.document_state('notes', 'pages', 'folded', after_seq => $1)",
        [after],
      ),
    );
    if (state?.snapshot) doc.import(state.snapshot);
    for (const update of state?.updates ?? []) doc.import(update);
    after = state?.head_seq ?? Number.POSITIVE_INFINITY;
  }
  expect(doc.getText("body").toString()).toBe(text);
}

describeSomePostgres("folding a tail", (open) => {
  it("leaves a readable document wherever it is cut off, loses nothing, and is done by whoever comes next", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const client = await typed(node, "abc");
    let text = "abc";
    // From the second on there is a tail behind the previous snapshot, which is forgotten.
    expect(await foldDocument(node.db, client.document)).toBe(true);
    for (const step of steps) {
      await client.type("x");
      await client.type("y");
      text += "xy";
      const resume = await atStep(t, step, die);
      await expect(foldDocument(node.db, client.document), step.join(" ")).rejects.toMatchObject({ code: "57P01" });
      await resume();
      await expectReadable(t, node.db, text);
      await client.type("z");
      text += "z";
      const other = await startNode(t);
      const opened = await connect(other, key, { userId: "ada" });
      expect(opened.text()).toBe(text);
      expect(await foldDocument(other.db, opened.document)).toBe(true);
      opened.leave();
      await expectReadable(t, node.db, text);
    }
    const [counts] = await t.db.query<{ kept: number; forgotten: number }>(
      `select (select count(*) from perch.document_updates) as kept,
              (select coalesce(sum(updates), 0)::int from perch.document_history) as forgotten`,
    );
    expect((counts?.kept ?? 0) + (counts?.forgotten ?? 0)).toBe(text.length);
    expect(await t.db.query("select tail_count from perch.documents")).toEqual([{ tail_count: 0 }]);
  });

  it("blocks no writer, however long it takes, and no second folding", async () => {
    const t = await open();
    await declare(t);
    const [node, other] = [await startNode(t), await startNode(t)];
    const client = await typed(node, "abc");
    await foldDocument(node.db, client.document);
    await client.type("d");
    const opened = await connect(other, key);
    await t.db.query("create table public.held (reason text)");
    await t.db.query("grant select on public.held to public");
    let text = "abcd";
    // The row that writers need is taken right before the last statement, which is followed by the commit.
    for (const step of steps.slice(0, -2)) {
      const resume = await atStep(t, step, wait);
      await t.db.query("insert into public.held values ('for a test')");
      const folding = foldDocument(node.db, client.document);
      await expect.poll(() => t.db.query(asleepSql)).toHaveLength(1);
      await opened.document.refresh();
      await opened.type("w");
      await client.document.refresh();
      await client.type("v");
      text += "wv";
      expect(await t.db.query(foldingSql)).toHaveLength(1);
      await t.db.query("delete from public.held");
      expect(await folding, step.join(" ")).toBe(true);
      await resume();
      await expectReadable(t, node.db, text);
    }
    await opened.document.refresh();
    await client.document.refresh();
    const both = await Promise.all([foldDocument(node.db, client.document), foldDocument(other.db, opened.document)]);
    expect(both.filter(Boolean)).toHaveLength(1);
    await expectReadable(t, other.db, text);
  });

  it("keeps nobody from deleting what they edited, also while others wait for the document", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const client = await typed(node, "abc");
    await t.db.query("create table public.held (reason text)");
    await t.db.query("grant select on public.held to public");
    const resume = await atStep(t, steps[0], wait);
    await t.db.query("insert into public.held values ('for a test')");
    const folding = foldDocument(node.db, client.document).then(
      () => "folded",
      ({ code }: { code: string }) => code,
    );
    await expect.poll(() => t.db.query(asleepSql)).toHaveLength(1);
    const edit =
      "select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => 'folded', patch => '{\"title\": \"second\"}')";
    let other: Promise<unknown> = Promise.resolve();
    await t.asUser("ada", async (tx) => {
      // As a DocumentStore opens it: the row is locked, and not written yet.
      await tx.query("select from perch.open_in_transaction('notes', 'pages', 'folded', null, true, '{}', '{}')");
      other = t.asUser("ada", (second) => second.query(edit));
      other.catch(() => undefined);
      await expect
        .poll(() => t.db.query("select from pg_stat_activity where wait_event_type = 'Lock' and query like '%second%'"))
        .toHaveLength(1);
      await tx.query("select perch.delete_document('notes', 'pages', 'folded')");
    });
    await other;
    await t.db.query("delete from public.held");
    // It was of a document that is no more: nothing is left of it.
    expect(await folding).toBe("55P03");
    await resume();
    expect(await t.db.query("select from perch.document_snapshots")).toEqual([]);
    expect(await t.db.query("select from perch.document_history")).toEqual([]);
    expect(await t.db.query("select from perch.documents")).toHaveLength(1);
  });

  it("keeps the whole history, so that a client from long ago still merges, offline edits and all", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const client = await typed(node, "one ");
    const old = new LoroDoc();
    old.import(client.doc.export({ mode: "update" }));
    const known = old.oplogVersion();
    for (let round = 0; round < 4; round++) {
      for (const letter of `round ${round} `) await client.type(letter);
      await client.type("#", 0);
      expect(await foldDocument(node.db, client.document)).toBe(true);
    }
    const [{ tail_from: tailFrom = 0 } = {}] = await t.db.query<{ tail_from: number }>(
      "select tail_from from perch.documents",
    );
    expect(tailFrom).toBeGreaterThan(4);
    // On another node, which has only what is stored.
    const late = await startNode(t);
    const document = await late.live.open(key);
    old.getText("body").insert(0, "written offline; ");
    old.commit();
    const joined = await document.join(known.encode(), () => undefined);
    for (const update of joined.updates) old.import(update);
    await document.append([old.export({ mode: "update", from: known })], ada, undefined);
    joined.leave();
    document.release();
    await client.document.refresh();
    expect(client.text()).toBe(old.getText("body").toString());
    expect(client.text()).toContain("written offline; ");
    expect(client.text()).toContain("one round 0 round 1 round 2 round 3 ");
    await expectReadable(t, node.db, client.text());
  });
});
