import fc from "fast-check";
import { expect, it } from "vitest";
import { DocumentStore } from "../../src/documents/index.js";
import type { DocumentKey } from "../../src/documents/key.js";
import { withContext } from "../../src/identity/context.js";
import { type Client, cleanup, connect, eventually } from "../documents/live/support.js";
import { describeSomePostgres } from "../support/databases.js";
import { adopt, startWorkerNode } from "../worker/support.js";
import { syncTable } from "./support.js";

const identity = { userId: "ann", spaceIds: ["team"], writableSpaceIds: ["team"] };

/** What one writer does, one after the other. Each adds a word of its own at a place, or takes one of its words out again. */
type Step = {
  readonly by: "typing" | "statement" | "read, then write" | "repeatable read" | "store";
  readonly place: number;
  readonly takeOut: boolean;
  readonly rollBack: boolean;
};
const step: fc.Arbitrary<Step> = fc.record({
  by: fc.constantFrom("typing", "statement", "read, then write", "repeatable read", "store"),
  place: fc.nat(200),
  takeOut: fc.boolean(),
  rollBack: fc.boolean(),
});

/** Words are letters of their own: no difference between two texts can take parts of one for parts of another. */
const firstWord = 0x4e00;

const rolledBack = new Error("rolled back");

describeSomePostgres("a row that somebody has locked", (open) => {
  it("keeps who wants its document waiting, and nobody else, and no connection", async () => {
    const t = await open();
    await t.db.query("create table notes (id int primary key, team text, body text)");
    await syncTable(t.db, "notes", `space_column => 'team', documents => '{"body": "text"}'`);
    await t.db.query("insert into notes select n, 'team', 'x' from generate_series(1, 13) n");
    const node = await startWorkerNode(t);
    const key = (id: number): DocumentKey => ({
      spaceId: "team",
      appId: "shop",
      tableName: "notes",
      recordId: `${id}`,
    });
    let wanting: Promise<unknown> = Promise.resolve();
    await t.db.transaction(async (tx) => {
      await tx.query("select from notes where id <= 12 for update");
      wanting = Promise.all(Array.from({ length: 12 }, (_, n) => adopt(node, key(n + 1))));
      await adopt(node, key(13));
    });
    await wanting;
  });
});

describeSomePostgres("what a column shows", (open) => {
  it("is what the next statement is based on, also when the tail that led there was folded away", async () => {
    const t = await open();
    await t.db.query("create table notes (id int primary key, team text, body text)");
    await syncTable(t.db, "notes", `space_column => 'team', documents => '{"body": "text"}'`);
    await t.db.query("insert into notes values (1, 'team', 'a')");
    const key: DocumentKey = { spaceId: "team", appId: "shop", tableName: "notes", recordId: "1" };
    const node = await startWorkerNode(t);
    await adopt(node, key);
    const editing = await connect(node, key, identity);
    await editing.type("b");
    const columns = async () => {
      const [row] = await t.db.query<{ body: string; noted: boolean }>(
        "select n.body, d.shown_version is not null as noted from notes n cross join perch.row_documents d",
      );
      return row;
    };
    await eventually(async () => (await columns())?.body === "ab", "the column to show it");
    const document = await node.live.open(key);
    await t.db.transaction(async (tx) => {
      // Nothing is projected meanwhile.
      await tx.query("select from notes where id = 1 for update");
      for (const letter of ["c", "d", "e"]) {
        await editing.type(letter);
        const { snapshot, version, seq, revision } = await document.snapshot();
        await t.asWorker((worker) =>
          worker.query("select perch.fold_document('team', 'shop', 'notes', '1', $1, $2, $3, $4)", [
            snapshot,
            seq,
            version,
            revision,
          ]),
        );
      }
      expect(await columns()).toEqual({ body: "ab", noted: true });
      await tx.query("update notes set body = body || '!' where id = 1");
    });
    document.release();
    await eventually(() => editing.text().includes("!"), "the statement to be merged");
    await eventually(async () => (await columns())?.body === editing.text(), "the column to show it");
    expect(editing.text().replace("!", "")).toBe("abcde");
    expect((await columns())?.noted).toBe(false);
  });
});

describeSomePostgres("documents in columns, written from all sides at once", (open) => {
  it("lose no word, have none twice, keep none that was rolled back, and are the same everywhere", async () => {
    const t = await open();
    await t.db.query("create table notes (id int primary key, team text, body text)");
    await syncTable(t.db, "notes", `space_column => 'team', documents => '{"body": "text"}'`);
    const nodes = [await startWorkerNode(t), await startWorkerNode(t)] as const;
    const store = new DocumentStore();
    cleanup(() => store.close());
    let ids = 0;

    async function run(plans: readonly (readonly Step[])[]): Promise<void> {
      const id = ++ids;
      await t.db.query("insert into notes values ($1, 'team', 'the beginning')", [id]);
      const key: DocumentKey = { spaceId: "team", appId: "shop", tableName: "notes", recordId: String(id) };
      await adopt(nodes[0], key);
      const editors = [await connect(nodes[0], key, identity), await connect(nodes[1], key, identity)] as const;
      const words = new Map<string, "there" | "gone">();
      const withWord = (text: string, word: string, place: number, takeOut: boolean) => {
        if (takeOut) return text.replace(word, "");
        const at = place % (text.length + 1);
        return text.slice(0, at) + word + text.slice(at);
      };

      async function take(writer: number, { by, place, takeOut, rollBack }: Step, word: string): Promise<boolean> {
        if (by === "typing") {
          const editor = editors[writer % 2] as Client;
          const body = editor.doc.getText("body");
          const before = editor.text();
          const found = before.indexOf(word);
          if (takeOut && found === -1) return false;
          if (takeOut) body.delete(found, word.length);
          else body.insert(place % (before.length + 1), word);
          await editor.send();
          return true;
        }
        let wrote = false;
        const work = async (tx: Parameters<Parameters<typeof t.db.transaction>[0]>[0]) => {
          if (by === "repeatable read") await tx.query("set transaction isolation level repeatable read");
          if (by === "store") {
            const { data } = await store.applyPatch(tx, key, {});
            const text = String(data.body ?? "");
            wrote = !takeOut || text.includes(word);
            await store.applyPatch(tx, key, { body: withWord(text, word, place, takeOut) });
          } else if (by === "statement") {
            wrote = !takeOut;
            const change = takeOut ? "replace(n.body, $2, '')" : "n.body || $2";
            const [row] = await tx.query<{ had: boolean }>(
              `update notes n set body = ${change} from (select body from notes where id = $1 for update) o
                where n.id = $1 returning o.body like '%' || $2 || '%' as had`,
              [id, word],
            );
            wrote ||= row?.had === true;
          } else {
            const lock = by === "repeatable read" ? "" : "for update";
            const [row] = await tx.query<{ body: string }>(`select body from notes where id = $1 ${lock}`, [id]);
            const text = row?.body ?? "";
            wrote = !takeOut || text.includes(word);
            await tx.query("update notes set body = $2 where id = $1", [id, withWord(text, word, place, takeOut)]);
          }
          if (rollBack) throw rolledBack;
        };
        try {
          if (by === "store") await withContext(t.db, identity, work);
          else await t.db.transaction(work);
          return wrote;
        } catch (error) {
          const code = (error as { code?: string }).code;
          if (error === rolledBack || (by === "repeatable read" && code === "40001")) return false;
          throw error;
        }
      }

      await Promise.all(
        plans.map(async (plan, writer) => {
          const mine: string[] = [];
          for (const [nth, one] of plan.entries()) {
            const takeOut = one.takeOut && mine.length > 0;
            const word = takeOut ? (mine.pop() as string) : String.fromCharCode(firstWord + writer * 100 + nth);
            const done = await take(writer, { ...one, takeOut }, word);
            if (takeOut) {
              if (done) words.set(word, "gone");
              else mine.push(word);
            } else if (done) {
              words.set(word, "there");
              mine.push(word);
            }
          }
        }),
      );

      const settled = async () => {
        const [row] = await t.db.query<{ body: string; waiting: number }>(
          `select body, (select count(*)::int from perch.column_writes where placed is null)
             + (select count(*)::int from perch.document_queue) as waiting from notes where id = $1`,
          [id],
        );
        const texts = [row?.body, ...editors.map((editor) => editor.text())];
        return row?.waiting === 0 && texts.every((text) => text === texts[0]) ? texts[0] : undefined;
      };
      const text = await eventually(settled, "everybody to have the same");
      const found = [...text].filter((letter) => letter.charCodeAt(0) >= firstWord).sort();
      const wanted = [...words].filter(([, state]) => state === "there").map(([word]) => word);
      expect(found).toEqual(wanted.sort());
      expect([...text].filter((letter) => letter.charCodeAt(0) < firstWord).join("")).toBe("the beginning");
      for (const editor of editors) editor.leave();
    }

    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(step, { minLength: 1, maxLength: 8 }), { minLength: 2, maxLength: 5 }), run),
      { numRuns: 4, endOnFailure: true },
    );
  });
});
