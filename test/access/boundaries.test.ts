import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { type Context, withContext } from "../../src/identity/index.js";
import { type Change, pull, push } from "../../src/log/index.js";
import { channels } from "../../src/notifications/parse.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";

describeEachEngine("the log under row level security", (open) => {
  let t: TestDatabase;
  const members = async (space: string) => {
    await withContext(t.db, { userId: "olga" }, async (tx) => {
      await tx.query("select perch.create_space(space_id => $1)", [space]);
      for (const [user, role] of Object.entries({ eddy: "editor", vera: "viewer" })) {
        await tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => $3)", [space, user, role]);
      }
    });
  };
  const asOlga = (sql: string, space: string) => withContext(t.db, { userId: "olga" }, (tx) => tx.query(sql, [space]));
  const insert = (id: string, space_id: string): Change => ({
    op: "insert",
    table: "tasks",
    id,
    space_id,
    data: { of: id },
  });
  const pushAs = async (context: Context, ...changes: Change[]) => {
    const { results } = await withContext(t.db, context, (tx) => push(tx, { appId: "todo", changes }));
    return results.map(({ status, error }) => error?.code ?? status);
  };
  const pullAs = (context: Context, cursor = {}) =>
    withContext(t.db, context, (tx) => pull(tx, { appId: "todo", cursor }));
  /** As perch_owner, which is what every function is at most: only the policies are in the way. */
  const asOwner = async <T>(userId: string, work: (tx: Transaction) => Promise<T>) =>
    t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context(user_id => $1)", [userId]);
      await tx.query("set local role perch_owner");
      return work(tx);
    });

  beforeAll(async () => {
    t = await open();
  });

  it("takes a change into a space from its editors and owners only, whoever the author is", async () => {
    await members("team14");
    expect(await pushAs({ userId: "otto" }, insert("a", "team14"))).toEqual(["PE403"]);
    expect(await pushAs({ userId: "vera" }, insert("a", "team14"))).toEqual(["PE403"]);
    expect(await pushAs({ userId: "vera" }, insert("a", "~olga"))).toEqual(["PE403"]);
    expect(await pushAs({ userId: "otto", spaceIds: ["team14"] }, insert("a", "team14"))).toEqual(["PE403"]);
    expect(await pushAs({ userId: "eddy" }, insert("a", "team14"), insert("b", "never-made"))).toEqual([
      "applied",
      "PE403",
    ]);
    expect((await pullAs({ userId: "olga" })).changes.map(({ id }) => id)).toEqual(["a"]);
  });

  it("has policies that refuse another's space, and another's name, even if a function forgot to ask", async () => {
    await members("policy14");
    const log = (space: string, author: string) => (tx: Transaction) =>
      tx.query(
        `insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, at, user_id)
         values ($1, 1, 'todo', 'tasks', 'x', 'insert', now(), $2)`,
        [space, author],
      );
    await expect(asOwner("otto", log("policy14", "otto"))).rejects.toMatchObject({ code: "42501" });
    await expect(asOwner("vera", log("policy14", "vera"))).rejects.toMatchObject({ code: "42501" });
    await expect(asOwner("eddy", log("policy14", "olga"))).rejects.toMatchObject({ code: "42501" });
    await expect(asOwner("eddy", log("~olga", "eddy"))).rejects.toMatchObject({ code: "42501" });
    await asOwner("eddy", log("policy14", "eddy"));
  });

  it("asks of a row as it will be, not only as it was: none moves into a space that its writer may not write", async () => {
    await members("from18");
    await members("into18");
    await asOlga("select perch.remove_space_member(space_id => $1, user_id => 'eddy')", "into18");
    await pushAs({ userId: "eddy" }, insert("row", "from18"));
    for (const table of ["stored_records", "sync_changes"]) {
      const move = (space: string) =>
        asOwner("eddy", (tx) => tx.query(`update perch.${table} set space_id = $1 where space_id = 'from18'`, [space]));
      await expect(move("into18")).rejects.toMatchObject({ code: "42501" });
      await expect(move("~olga")).rejects.toMatchObject({ code: "42501" });
    }
    const rename = "update perch.sync_changes set user_id = 'olga' where space_id = 'from18'";
    await expect(asOwner("eddy", (tx) => tx.query(rename))).rejects.toMatchObject({ code: "42501" });
  });

  it("gives deletions to those who may see the record, and to nobody else", async () => {
    await members("team9");
    await pushAs({ userId: "eddy" }, insert("gone", "team9"), {
      op: "delete",
      table: "tasks",
      id: "gone",
      space_id: "team9",
    });
    const ops = async (userId: string) => (await pullAs({ userId })).changes.map(({ op, id }) => `${op} ${id}`);
    expect(await ops("vera")).toContain("delete gone");
    expect(await ops("otto")).toEqual([]);
  });

  it("asks at every page who may read, and says which spaces are lost", async () => {
    await members("team19");
    await pushAs({ userId: "olga" }, insert("before", "team19"));
    const first = await pullAs({ userId: "vera" });
    expect(first.changes.map(({ id }) => id)).toContain("before");
    await asOlga("select perch.remove_space_member(space_id => $1, user_id => 'vera')", "team19");
    await pushAs({ userId: "olga" }, insert("secret", "team19"), {
      op: "delete",
      table: "tasks",
      id: "before",
      space_id: "team19",
    });
    const second = await pullAs({ userId: "vera" }, first.cursor);
    expect(second.changes).toEqual([]);
    expect(second.revoked_space_ids).toEqual(["team19"]);
    expect((await pullAs({ userId: "vera" }, second.cursor)).revoked_space_ids).toEqual([]);
  });

  it("tells on its channels ids and numbers, and no content and no author", async () => {
    await members("team19b");
    await t.db.query(
      `select perch.declare_table(app_id => 'todo', table_name => 'pages', fields => '{"title": "string"}')`,
    );
    await t.db.query("create table things (id text primary key, team text, body text)");
    await t.db.query("grant insert on things to perch_app");
    await t.db.query("select perch.sync_table(relation => 'things', app_id => 'todo', space_column => 'team')");
    const heard: Record<string, string[]> = { perch_changes: [], perch_documents: [] };
    const subscription = await t.db.listen(channels, {
      notify(channel, payload) {
        heard[channel] = [...(heard[channel] ?? []), payload];
      },
      ready() {},
    });
    await pushAs({ userId: "eddy" }, { ...insert("hidden-id", "team19b"), data: { secret: "hidden-content" } });
    await withContext(t.db, { userId: "eddy" }, async (tx) => {
      await tx.query(
        `select perch.patch_document(app_id => 'todo', table_name => 'pages', record_id => 'p', space_id => 'team19b',
           patch => '{"title": "hidden-content"}')`,
      );
      await tx.query("insert into things values ('hidden-row', 'team19b', 'hidden-content')");
    });
    await asOlga("select perch.remove_space_member(space_id => $1, user_id => 'vera')", "team19b");
    await t.asWorker((tx) =>
      tx.query(
        `select perch.put_presence(gen_random_uuid(), '{team19b}', '{todo}', '{pages}', '{p}', '{ephemeral}', '{eddy-key}',
           '{hidden-content}', '{1}', '{60000}', '{eddy}', 1000)`,
      ),
    );
    await expect
      .poll(() => Object.keys(heard).filter((channel) => heard[channel]?.length))
      .toHaveLength(channels.length);
    const said = Object.entries(heard).flatMap(([channel, payloads]) =>
      payloads.map((payload) => [channel, JSON.parse(payload)] as const),
    );
    expect(said).toContainEqual(["perch_changes", { v: 1, space_id: "team19b", seq: 1 }]);
    const may: Record<string, readonly string[]> = {
      perch_changes: ["v", "space_id", "seq"],
      perch_documents: ["v", "space_id", "app_id", "table", "id", "seq"],
      perch_captured: ["v"],
      perch_presence: ["v", "seq", "node"],
    };
    for (const [channel, payload] of said) {
      expect(may[channel], channel).toEqual(expect.arrayContaining(Object.keys(payload)));
      expect(JSON.stringify(payload)).not.toMatch(/hidden-content|hidden-row|eddy|vera|olga/);
    }
    await subscription.close();
  });

  it("lets a removed member write nothing from the next statement on, and an editor made viewer neither", async () => {
    await members("team20");
    expect(await pushAs({ userId: "eddy" }, insert("a", "team20"))).toEqual(["applied"]);
    await asOlga("select perch.set_space_member(space_id => $1, user_id => 'eddy', role => 'viewer')", "team20");
    expect(await pushAs({ userId: "eddy" }, insert("b", "team20"))).toEqual(["PE403"]);
    await asOlga("select perch.remove_space_member(space_id => $1, user_id => 'eddy')", "team20");
    expect(await pushAs({ userId: "eddy" }, insert("c", "team20"))).toEqual(["PE403"]);
    const left = await withContext(t.db, { userId: "eddy" }, (tx) =>
      tx.query("select record_id from perch.sync_changes where space_id = 'team20' order by seq"),
    );
    expect(left).toEqual([]);
  });
});
