import { describe, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { withContext } from "../../src/identity/index.js";
import { describeEachEngine, postgres } from "../support/databases.js";

const spacesSeen = async (tx: Transaction) =>
  (await tx.query<{ space_id: string }>("select space_id from perch.spaces order by space_id")).map((s) => s.space_id);

describeEachEngine("withContext", (open) => {
  it("runs work as the user, commits it, and returns what it returned", async () => {
    const t = await open();
    const me = await withContext(t.db, { userId: "ada" }, async (tx) => {
      await tx.query("select perch.create_space(space_id => 'lab')");
      const [row] = await tx.query<{ me: string }>("select perch.current_user_id() as me");
      return row?.me;
    });
    expect(me).toBe("ada");
    expect(await withContext(t.db, { userId: "ada" }, spacesSeen)).toEqual(["lab"]);
  });

  it("rolls back and throws on what work throws", async () => {
    const t = await open();
    const attempt = withContext(t.db, { userId: "ada" }, async (tx) => {
      await tx.query("select perch.create_space(space_id => 'lab')");
      throw new Error("changed my mind");
    });
    await expect(attempt).rejects.toThrow("changed my mind");
    expect(await withContext(t.db, { userId: "ada" }, spacesSeen)).toEqual([]);
  });

  it("takes the role perch_app, so that the policies bind a superuser's login", async () => {
    const t = await open();
    await withContext(t.db, { userId: "ada" }, (tx) => tx.query("select perch.create_space(space_id => 'lab')"));
    expect(await t.db.query("select space_id from perch.spaces")).toHaveLength(1);
    expect(await withContext(t.db, { userId: "eve" }, spacesSeen)).toEqual([]);
    const [role] = await withContext(t.db, { userId: "eve" }, (tx) => tx.query("select current_user as role"));
    expect(role).toEqual({ role: "perch_app" });
    expect(await t.db.query("select current_user = session_user as same")).toEqual([{ same: true }]);
  });

  it("goes with its own rights where the login may not switch to perch_app", async () => {
    const t = await open();
    const worker = await t.login("perch_worker");
    const [role] = await worker.transaction((tx) => tx.query<{ role: string }>("select current_user as role"));
    const context = withContext(worker, { userId: "eve" }, (tx) => tx.query("select current_user as role"));
    // A worker serves everybody: it may name a user, and is not perch_app.
    await expect(context).resolves.toEqual([role]);
    const stranger = await t.login("stranger");
    await expect(withContext(stranger, { userId: "eve" }, spacesSeen)).rejects.toMatchObject({ code: "42501" });
  });

  it("works for a login whose membership in perch_app gives it no rights of its own", async () => {
    const t = await open();
    const app = await t.login("perch_app");
    const [login] = await app.query<{ name: string }>("select session_user as name");
    await t.db.query(`alter role ${login?.name} noinherit`);
    if (t.engine !== "Postgres 15") await t.db.query(`grant perch_app to ${login?.name} with inherit false, set true`);
    await expect(app.query("select perch.current_user_id()")).rejects.toMatchObject({ code: "42501" });
    expect(await withContext(app, { userId: "ada" }, spacesSeen)).toEqual([]);
  });

  it("refuses an id that is no text, or that would become another's in the database, on every way in", async () => {
    const t = await open();
    for (const id of ["u\ud83d", "a\0b", 7, { id: 1 }] as string[]) {
      for (const context of [{ userId: id }, { tenantId: id }, { userId: "ada", spaceIds: [id] }]) {
        await expect(withContext(t.db, context, spacesSeen)).rejects.toMatchObject({ code: "PE422" });
      }
    }
    for (const id of ["u\ud83d", "a\0b"]) {
      for (const call of ["set_context(user_id", "set_tenant(tenant_id"]) {
        const query = t.db.query(`select perch.${call} => $1)`, [id]);
        await expect(query).rejects.toMatchObject({ code: "PE422", detail: { argument: "$1" } });
      }
      const list = t.db.query("select perch.set_context(user_id => 'ada', space_ids => $1)", [[id]]);
      await expect(list).rejects.toMatchObject({ code: "PE422", detail: { argument: "$1" } });
    }
  });

  it("passes lists and tenant on", async () => {
    const t = await open();
    const context = { userId: "ada", spaceIds: ["a,b"], writableSpaceIds: ["c"], tenantId: "acme" };
    const [row] = await withContext(t.db, context, (tx) =>
      tx.query(
        "select perch.current_space_ids() as readable, perch.writable_space_ids() as writable, perch.current_tenant_id() as tenant",
      ),
    );
    expect(row).toEqual({ readable: ["a,b", "c", "~ada"], writable: ["c", "~ada"], tenant: "acme" });
  });

  it("takes ids for what they are, whatever they are made of", async () => {
    const t = await open();
    const odd = [`a'b`, `a"b`, "a\\b", "a\\'; select 1/0; --", "{a,b}", "$1", "null", "é🦜", "E'x'"];
    for (const setting of ["on", "off"]) {
      await t.db.query(`set standard_conforming_strings = ${setting}`).catch(() => undefined);
      for (const id of odd) {
        const context = { userId: id, spaceIds: odd, writableSpaceIds: odd, tenantId: id };
        const [row] = await withContext(t.db, context, (tx) =>
          tx.query(
            "select perch.current_user_id() as me, perch.writable_space_ids() as spaces, perch.current_tenant_id() as tenant",
          ),
        );
        expect(row).toEqual({ me: id, spaces: [...odd, `~${id}`], tenant: id });
      }
    }
    await t.db.query("reset standard_conforming_strings");
    const run = withContext(t.db, { userId: "a\0b" }, (tx) => tx.query("select 1"));
    await expect(run).rejects.toMatchObject({ code: "PE422" });
  });

  it("leaves nothing of an earlier user of the connection, and nothing for a later one", async () => {
    const t = await open();
    const app = await t.login("perch_app");
    const who = (tx: Transaction) =>
      tx.query(
        "select perch.current_user_id() as me, perch.current_tenant_id() as tenant, perch.current_space_ids() as readable",
      );
    await app.transaction(async (tx) => {
      // What a careless app does: for the session, on a connection that others will get.
      await tx.query(
        "select set_config('app.current_user_id', 'olga', false), set_config('app.current_tenant_id', 'old', false)",
      );
      await tx.query("select set_config('app.current_user_space_ids', '{secret}', false)");
    });
    expect(await withContext(app, { userId: "ada" }, who)).toEqual([{ me: "ada", tenant: null, readable: ["~ada"] }]);
    expect(await withContext(app, { tenantId: "acme" }, who)).toEqual([{ me: null, tenant: "acme", readable: [] }]);
    // The fresh login below may be given the same session (PGlite has only one): end what the careless app began.
    for (const name of ["user_id", "tenant_id", "user_space_ids"]) await app.query(`reset app.current_${name}`);
    const fresh = await t.login("perch_app");
    await withContext(fresh, { userId: "ada", tenantId: "acme" }, who);
    expect(await fresh.transaction(who)).toEqual([{ me: null, tenant: null, readable: [] }]);
  });

  it("does nothing of the work that was sent with a context that the database refuses, and says why", async () => {
    const { db } = await open();
    await db.query("create table things (n int)");
    await db.query("grant insert on things to perch_app");
    const work = withContext(db, { userId: "a".repeat(300) }, (tx) => tx.last("insert into things values (1)"), {
      atOnce: true,
    });
    await expect(work).rejects.toMatchObject({ code: "PE413" });
    expect(await db.query("select from things")).toEqual([]);
  });

  it("refuses to run for nobody", async () => {
    const t = await open();
    const never = async () => {
      throw new Error("must not run");
    };
    await expect(withContext(t.db, { userId: "" }, never)).rejects.toMatchObject({ code: "PE401" });
    await expect(withContext(t.db, { tenantId: "" }, never)).rejects.toMatchObject({ code: "PE401" });
    await expect(withContext(t.db, {} as { userId: string }, never)).rejects.toMatchObject({ code: "PE401" });
  });
});

describe("withContext on transactions that undo each other", () => {
  const open = postgres(18);
  it("is run again when it is told that it may be, and throws otherwise", async () => {
    const t = await open();
    const push = (space: string) => (tx: Transaction) =>
      tx.query("select perch.push(app_id => 'a', client_id => 'c', changes => $1::jsonb)", [
        JSON.stringify([{ op: "insert", table: "t", id: "x", space_id: space }]),
      ]);
    await withContext(t.db, { userId: "ada" }, async (tx) => {
      for (const space of ["lab", "den"]) await tx.query("select perch.create_space(space_id => $1)", [space]);
    });
    /** Two calls each, in opposite orders: both wait at the second for the other's first, when they get there together. */
    async function cross(retry: boolean): Promise<{ refused: unknown[]; runs: number }> {
      let runs = 0;
      let arrived = 0;
      let meet: (() => void) | undefined;
      const met = new Promise<void>((resolve) => {
        meet = resolve;
      });
      const both = await Promise.allSettled(
        [
          ["lab", "den"],
          ["den", "lab"],
        ].map(([first = "", second = ""]) =>
          withContext(
            t.db,
            { userId: "ada" },
            async (tx) => {
              runs++;
              await push(first)(tx);
              if (++arrived >= 2) meet?.();
              await met;
              await push(second)(tx);
            },
            { retry },
          ),
        ),
      );
      return { refused: both.flatMap((one) => (one.status === "rejected" ? [one.reason.code] : [])), runs };
    }
    expect(await cross(false)).toEqual({ refused: ["40P01"], runs: 2 });
    // Who was undone may be back before the other one has gone on, and meet it a second time.
    const { refused, runs } = await cross(true);
    expect(refused).toEqual([]);
    expect(runs).toBeGreaterThan(2);
  });
});
