import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { failureOf } from "./failure.js";

const spaces = async (tx: Transaction) => {
  const [row] = await tx.query<{ readable: string[]; writable: string[] }>(
    "select perch.current_space_ids() as readable, perch.writable_space_ids() as writable",
  );
  return { readable: row?.readable.sort(), writable: row?.writable.sort() };
};

describeEachEngine("set_context", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query(
      "select perch.declare_table(app_id => 'notes', table_name => 'pages', fields => '{\"title\": \"string\"}')",
    );
    await t.asUser("olga", async (tx) => {
      await tx.query("select perch.create_space(space_id => 'team')");
      await tx.query("select perch.set_space_member(space_id => 'team', user_id => 'eddy', role => 'editor')");
      await tx.query("select perch.set_space_member(space_id => 'team', user_id => 'vera', role => 'viewer')");
    });
  });

  /** In a transaction with the rights of perch_app, with settings that an app made itself. */
  const withSettings = <T>(settings: Record<string, string>, work: (tx: Transaction) => Promise<T>) =>
    t.db.transaction(async (tx) => {
      await tx.query("set local role perch_app");
      for (const [name, value] of Object.entries(settings)) {
        await tx.query("select set_config($1, $2, true)", [`app.current_${name}`, value]);
      }
      return work(tx);
    });
  const membersOf = async (tx: Transaction) =>
    (await tx.query<{ user_id: string }>("select user_id from perch.space_members order by user_id")).map(
      (m) => m.user_id,
    );
  const write = (tx: Transaction, space: string | null = null) =>
    tx.query(
      `select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => 'p', patch => '{"title": "x"}', space_id => $1)`,
      [space],
    );

  it("without lists reads the memberships: a viewer reads, an editor and an owner also write", async () => {
    expect(await t.asUser("vera", spaces)).toEqual({ readable: ["team", "~vera"], writable: ["~vera"] });
    expect(await t.asUser("eddy", spaces)).toEqual({ readable: ["team", "~eddy"], writable: ["team", "~eddy"] });
    expect(await t.asUser("olga", spaces)).toEqual({ readable: ["team", "~olga"], writable: ["team", "~olga"] });
    expect(await t.asUser("otto", spaces)).toEqual({ readable: ["~otto"], writable: ["~otto"] });
  });

  it("with lists takes them for the memberships, whatever is stored", async () => {
    await t.asUser("vera", async (tx) => {
      await tx.query("select perch.set_context(user_id => 'vera', space_ids => '{elsewhere}')");
      expect(await spaces(tx)).toEqual({ readable: ["elsewhere", "~vera"], writable: ["~vera"] });
      await tx.query("select perch.set_context(user_id => 'vera', writable_space_ids => '{mine}')");
      expect(await spaces(tx)).toEqual({ readable: ["mine", "~vera"], writable: ["mine", "~vera"] });
      await tx.query("select perch.set_context(user_id => 'olga', space_ids => '{}')");
      expect(await spaces(tx)).toEqual({ readable: ["~olga"], writable: ["~olga"] });
    });
  });

  it("takes an id with commas, braces, quotes or spaces for one space", async () => {
    const odd = ["a,b", "{c}", 'd"e', "f\\g", " h ", "NULL", "null", "é,ß", "x{y,z}"];
    await t.asUser("ada", async (tx) => {
      await tx.query("select perch.set_context(user_id => 'ada', space_ids => $1, writable_space_ids => $1)", [odd]);
      const expected = [...odd, "~ada"].sort();
      expect(await spaces(tx)).toEqual({ readable: expected, writable: expected });
      expect(await failureOf(tx, (tx) => write(tx, "a"))).toMatchObject({ code: "PE403" });
    });
    await t.asUser("a,team", async (tx) => expect((await spaces(tx)).readable).toEqual(["~a,team"]));
  });

  it("drops nulls from the lists", async () => {
    await t.asUser("ada", async (tx) => {
      await tx.query(
        "select perch.set_context(user_id => 'ada', space_ids => '{a,null}', writable_space_ids => '{null}')",
      );
      expect(await spaces(tx)).toEqual({ readable: ["a", "~ada"], writable: ["~ada"] });
    });
  });

  it("refuses an empty or missing user with PE401", async () => {
    for (const nobody of ["", null]) {
      const attempt = t.asUser("ada", (tx) => tx.query("select perch.set_context(user_id => $1::text)", [nobody]));
      await expect(attempt).rejects.toMatchObject({ code: "PE401", word: "unauthenticated" });
    }
  });

  it("refuses an id that is too long or holds control characters", async () => {
    const attempt = (id: string) => t.asUser(id, async () => undefined);
    await expect(attempt("x".repeat(256))).rejects.toMatchObject({ code: "PE413", detail: { limit: "user_id_bytes" } });
    await expect(attempt("a\nb")).rejects.toMatchObject({ code: "PE422" });
    await attempt("x".repeat(255));
  });

  it("ends with the transaction", async () => {
    const app = await t.login("perch_app");
    await app.transaction(async (tx) => {
      await tx.query("select perch.set_context(user_id => 'olga')");
      expect(await membersOf(tx)).toEqual(["eddy", "olga", "vera"]);
    });
    await app.transaction(async (tx) => {
      expect(await membersOf(tx)).toEqual([]);
      expect(await tx.query("select perch.current_user_id() as me")).toEqual([{ me: null }]);
      expect(await spaces(tx)).toEqual({ readable: [], writable: [] });
      expect(await failureOf(tx, (tx) => write(tx))).toMatchObject({ code: "PE401" });
    });
  });

  it("goes with a savepoint that is rolled back", async () => {
    await t.asUser("vera", async (tx) => {
      await tx.query("savepoint before");
      await tx.query("select perch.set_context(user_id => 'olga')");
      await tx.query("rollback to savepoint before");
      expect(await tx.query("select perch.current_user_id() as me")).toEqual([{ me: "vera" }]);
    });
  });

  it("replaces everything that was left over on a pooled connection, also what is no array", async () => {
    const before = {
      user_id: "olga",
      user_space_ids: "{team}",
      user_writable_space_ids: "{team}",
    };
    await withSettings(before, async (tx) => {
      await tx.query("select perch.set_context(user_id => 'otto')");
      expect(await spaces(tx)).toEqual({ readable: ["~otto"], writable: ["~otto"] });
    });
    await withSettings({ user_id: "olga", user_space_ids: "{broken", user_writable_space_ids: "x" }, async (tx) => {
      await tx.query("select perch.set_context(user_id => 'otto')");
      expect(await spaces(tx)).toEqual({ readable: ["~otto"], writable: ["~otto"] });
    });
  });

  it("gives way to settings that an app makes itself, and always adds the personal space", async () => {
    const settings = { user_id: "otto", user_space_ids: "{team}", user_writable_space_ids: "{}" };
    await withSettings(settings, async (tx) => {
      expect(await spaces(tx)).toEqual({ readable: ["team", "~otto"], writable: ["~otto"] });
      expect(await membersOf(tx)).toEqual(["eddy", "olga", "vera"]);
      expect(await failureOf(tx, (tx) => write(tx, "team"))).toMatchObject({ code: "PE403" });
    });
    await withSettings({ user_id: "otto" }, async (tx) => {
      expect(await spaces(tx)).toEqual({ readable: ["~otto"], writable: ["~otto"] });
      expect(await membersOf(tx)).toEqual([]);
      await write(tx);
    });
  });

  it("shows and takes nothing when lists are set and no user is", async () => {
    await withSettings({ user_id: "", user_space_ids: "{team}", user_writable_space_ids: "{team}" }, async (tx) => {
      expect(await membersOf(tx)).toEqual([]);
      expect(await failureOf(tx, (tx) => write(tx, "team"))).toMatchObject({ code: "PE401" });
    });
  });

  it("fails closed on a list that is not an array literal", async () => {
    for (const broken of ["team", "team,other", "{team", "{{team},{a,b}}", '{"team}', "{team}x"]) {
      const settings = { user_id: "otto", user_space_ids: broken, user_writable_space_ids: broken };
      await expect(withSettings(settings, membersOf)).rejects.toMatchObject({ code: "22P02" });
      await expect(withSettings(settings, (tx) => write(tx, "team"))).rejects.toMatchObject({ code: "22P02" });
    }
  });

  it("lets a null in a list open no space", async () => {
    const settings = { user_id: "otto", user_space_ids: "{a,NULL}", user_writable_space_ids: "{a,NULL}" };
    await withSettings(settings, async (tx) => expect(await membersOf(tx)).toEqual([]));
    for (const work of [
      (tx: Transaction) => write(tx, "team"),
      (tx: Transaction) => tx.query("select perch.remove_space_member(space_id => 'team', user_id => 'vera')"),
      (tx: Transaction) =>
        tx.query(
          "select perch.document_state(app_id => 'notes', table_name => 'pages', record_id => 'p', space_id => 'team')",
        ),
    ]) {
      await expect(withSettings(settings, work)).rejects.toMatchObject({ code: "PE403" });
    }
  });

  it("binds a superuser who calls the API", async () => {
    await t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context(user_id => 'otto')");
      expect(await spaces(tx)).toEqual({ readable: ["~otto"], writable: ["~otto"] });
      expect(await failureOf(tx, (tx) => write(tx, "team"))).toMatchObject({ code: "PE403" });
      const takeOver = "select perch.set_space_member(space_id => 'team', user_id => 'otto', role => 'owner')";
      expect(await failureOf(tx, (tx) => tx.query(takeOver))).toMatchObject({ code: "PE403" });
    });
  });

  it("names a tenant apart from the user, and refuses an empty one", async () => {
    await t.asUser("ada", async (tx) => {
      expect(await tx.query("select perch.current_tenant_id() as tenant")).toEqual([{ tenant: null }]);
      await tx.query("select perch.set_tenant(tenant_id => 'acme')");
      expect(await tx.query("select perch.current_tenant_id() as tenant, perch.current_user_id() as me")).toEqual([
        { tenant: "acme", me: "ada" },
      ]);
    });
    const empty = t.asUser("ada", (tx) => tx.query("select perch.set_tenant(tenant_id => '')"));
    await expect(empty).rejects.toMatchObject({ code: "PE401" });
  });
});
