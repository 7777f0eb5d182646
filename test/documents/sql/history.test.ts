import { beforeAll, expect, it } from "vitest";
import { describeEachEngine, type TestDatabase } from "../../support/databases.js";
import { blob, declarePages, key } from "./support.js";

describeEachEngine("A document's history", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declarePages(t);
    await t.asUser("ada", async (tx) => {
      await tx.query("select perch.create_space('team')");
      await tx.query("select perch.set_space_member('team', 'bob', 'editor')");
    });
  });

  /** One update of a user, whose operations end at this counter of the peer. */
  const write = (id: string, after: number, user: string, peer: string, counter: number) =>
    t.asWorker((tx) =>
      tx.query(
        `select * from perch.append_updates(array['team'], '{notes}', '{pages}', array[$1], array[$2::bigint],
           '{1}', array[$3::bytea], array[$4], array[null::boolean], '{device}', array[$5::jsonb])`,
        [id, after, blob("x"), user, JSON.stringify({ [peer]: counter })],
      ),
    );
  const fold = (id: string, seq: number) =>
    t.asWorker((tx) =>
      tx.query("select perch.fold_document($1, $2, $3, $4, $5, $6)", [...key(id, "team"), blob("s"), seq]),
    );
  const versions = (id: string, more = "") =>
    t.asUser("bob", (tx) =>
      tx.query(
        `select first_seq, seq, user_id, updates, bytes from perch.document_versions(
           app_id => 'notes', table_name => 'pages', record_id => $1, space_id => 'team'${more})`,
        [id],
      ),
    );
  const version = async (id: string, seq: number | null) =>
    (
      await t.asWorker((tx) =>
        tx.query<{ v: unknown }>("select perch.document_version($1, $2, $3, $4, $5) as v", [...key(id, "team"), seq]),
      )
    )[0]?.v;

  it("names who wrote what, one row a stretch, also when the updates are folded", async () => {
    await write("a", 0, "ada", "1", 5);
    await write("a", 1, "ada", "1", 9);
    await write("a", 2, "bob", "2", 3);
    await write("a", 3, "ada", "1", 12);
    const expected = [
      { first_seq: 4, seq: 4, user_id: "ada", updates: 1, bytes: 23 },
      { first_seq: 3, seq: 3, user_id: "bob", updates: 1, bytes: 23 },
      { first_seq: 1, seq: 2, user_id: "ada", updates: 2, bytes: 46 },
    ];
    expect(await versions("a")).toEqual(expected);
    await fold("a", 3);
    await fold("a", 4);
    expect(await t.db.query("select seq from perch.document_updates where record_id = 'a'")).toEqual([{ seq: 4 }]);
    expect(await versions("a")).toEqual(expected);
    expect(await versions("a", ", before => 4, max_count => 1")).toEqual(expected.slice(1, 2));
  });

  it("knows the version of a position, folded or not", async () => {
    expect(await version("a", 2)).toEqual({ 1: 9 });
    expect(await version("a", 3)).toEqual({ 1: 9, 2: 3 });
    expect(await version("a", null)).toEqual({ 1: 12, 2: 3 });
  });

  it("ends with the document, which remembers the operations of all its lives", async () => {
    const end = () => t.asUser("ada", (tx) => tx.query("select perch.delete_document('notes', 'pages', 'a', 'team')"));
    const remembered = () => t.db.query("select seq, version from perch.document_tombstones where record_id = 'a'");
    await end();
    expect(await versions("a")).toEqual([]);
    expect(await remembered()).toEqual([{ seq: 5, version: { 1: 12, 2: 3 } }]);
    await write("a", 5, "bob", "3", 4);
    await end();
    expect(await remembered()).toEqual([{ seq: 7, version: { 1: 12, 2: 3, 3: 4 } }]);
  });

  it("is for those who may read the document, in pages of a bounded size", async () => {
    await expect(
      t.asUser("mallory", (tx) => tx.query("select * from perch.document_versions('notes', 'pages', 'a', 'team')")),
    ).rejects.toMatchObject({ code: "PE403" });
    await expect(versions("a", ", max_count => 0")).rejects.toMatchObject({ code: "PE422" });
    await expect(versions("a", ", max_count => 1001")).rejects.toMatchObject({ code: "PE422" });
  });

  it("lets a DBA give what was set aside to the workers again, or forget it", async () => {
    await t.asUser("ada", (tx) => tx.query("select perch.push_update('notes', 'pages', 'b', $1)", [blob("bad")]));
    const reject = () =>
      t.asWorker((tx) => tx.query(`select perch.finish_inbox($1, $2, $3, $4, 1, null, '{"code": "PE422"}')`, key("b")));
    const call = async (name: string) =>
      (
        await t.asWorker((tx) =>
          tx.query<{ done: boolean }>(`select perch.${name}($1, $2, $3, $4, 1) as done`, key("b")),
        )
      )[0]?.done;
    expect(await call("retry_update")).toBe(false);
    await reject();
    expect(await call("retry_update")).toBe(true);
    expect(await t.db.query("select status, error from perch.document_inbox where record_id = 'b'")).toEqual([
      { status: "pending", error: null },
    ]);
    expect(await call("discard_update")).toBe(false);
    await reject();
    expect(await call("discard_update")).toBe(true);
    expect(await t.db.query("select 1 from perch.document_inbox where record_id = 'b'")).toEqual([]);
  });
});
