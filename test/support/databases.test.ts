import { expect, it } from "vitest";
import { describeEachEngine } from "./databases.js";

describeEachEngine("test databases", (open) => {
  it("are migrated and separate from each other", async () => {
    const [one, two] = [await open(), await open()];
    await one.asUser("ada", (tx) => tx.query("select perch.create_space(space_id => 'team')"));
    const spaces = "select space_id from perch.spaces";
    expect(await one.asUser("ada", (tx) => tx.query(spaces))).toEqual([{ space_id: "team" }]);
    expect(await two.asUser("ada", (tx) => tx.query(spaces))).toEqual([]);
  });

  it("log in as members of a role or as strangers", async () => {
    const t = await open();
    const app = await t.login("perch_app");
    const [who] = await app.query<{ app: boolean; worker: boolean; super: boolean }>(
      `select pg_has_role(session_user, 'perch_app', 'member') as app, pg_has_role(session_user, 'perch_worker', 'member') as worker,
              (select rolsuper from pg_roles where rolname = session_user) as super`,
    );
    expect(who).toEqual({ app: true, worker: false, super: false });
    const stranger = await t.login("stranger");
    await expect(stranger.query("select perch.current_user_id()")).rejects.toMatchObject({ code: "42501" });
    expect(await t.db.query("select session_user = current_user as same")).toEqual([{ same: true }]);
  });
});
