import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../../src/database/types.js";
import { describeEachEngine, type TestDatabase } from "../../support/databases.js";
import { asTenant, call, history, latest, put, value } from "../support.js";

/** Every call that reads or writes a thread, and what it comes to where there is no such thread. */
const calls = (id: string): [string, Record<string, unknown>][] => [
  ["latest_checkpoint", { thread_id: "run" }],
  ["get_checkpoint", { thread_id: "run", id }],
  ["checkpoint_history", { thread_id: "run" }],
  ["checkpoint_history", { thread_id: "run", before: id }],
  ["update_checkpoint_state", { thread_id: "run", parent_id: id, state: "{}" }],
  ["put_checkpoint", { thread_id: "run", state: "{}", step: 1, parent_id: id }],
  ["fork_checkpoint", { thread_id: "run", id }],
  ["thread_log", { thread_id: "run" }],
  ["load_thread_events", { thread_id: "run" }],
  ["load_thread_events", { thread_id: "run", after: 1 }],
  ["archive_thread_events", { thread_id: "run", up_to: 1 }],
  ["renew_lease", { thread_id: "run", token: 1 }],
  ["release_lease", { thread_id: "run", token: 1 }],
  ["prune_checkpoints", { thread_id: "run", keep_last: 1 }],
  ["delete_thread", { thread_id: "run" }],
];

describeEachEngine("tenants", (open) => {
  let t: TestDatabase;
  let id: string;
  beforeAll(async () => {
    t = await open();
    id = await asTenant(t, "acme", async (tx) => {
      await value(tx, "append_thread_events", { thread_id: "run", events: ['{"n": 1}', '{"n": 2}'] });
      const made = await put(tx, "run", { secret: "of acme" });
      await call(tx, "acquire_lease", { thread_id: "run", holder: "worker" });
      return made;
    });
  });

  const outcome = async (tenant: string, name: string, args: Record<string, unknown>): Promise<unknown> => {
    const rollback = new Error("only tried");
    let rows: unknown;
    try {
      await asTenant(t, tenant, async (tx) => {
        rows = await call(tx, name, args);
        throw rollback;
      });
    } catch (error) {
      if (error === rollback) return rows;
      const { code, message, detail } = error as { code: string; message: string; detail: unknown };
      return { code, message, detail };
    }
    return undefined;
  };

  it("cannot tell a thread of another tenant from one that does not exist", async () => {
    for (const [name, args] of calls(id)) {
      const elsewhere = JSON.stringify(await outcome("other", name, args)).replaceAll('"run"', '"nowhere"');
      const nowhere = JSON.stringify(await outcome("other", name, { ...args, thread_id: "nowhere" }));
      expect({ name, seen: elsewhere }).toEqual({ name, seen: nowhere });
    }
  });

  it("use the same thread id and the same checkpoint id without meeting", async () => {
    await asTenant(t, "other", async (tx) => {
      await put(tx, "run", { secret: "of other" }, { id });
      expect(await latest(tx, "run")).toMatchObject({ id, state: { secret: "of other" }, tenant_id: "other" });
      expect(await value(tx, "append_thread_events", { thread_id: "run", events: ["1"] })).toBe(1);
      const [lease] = await call<{ token: number }>(tx, "acquire_lease", { thread_id: "run", holder: "rival" });
      expect(lease?.token).toEqual(expect.any(Number));
      expect(await tx.query("select thread_id, state from perch.checkpoints")).toEqual([
        { thread_id: "run", state: { secret: "of other" } },
      ]);
      const args = { thread_id: "run", fencing_token: lease?.token };
      expect(await value(tx, "delete_thread", args)).toBe(1);
    });
    await asTenant(t, "acme", async (tx) => {
      expect(await latest(tx, "run")).toMatchObject({ id, state: { secret: "of acme" } });
      expect(await history(tx, "run")).toHaveLength(1);
    });
  });

  it("are nobody when unset, empty, or left over from another transaction", async () => {
    const refused = async (work: (tx: Transaction) => Promise<unknown>) => {
      for (const [name, args] of calls(id)) {
        const attempt = t.db.transaction(async (tx) => {
          await work(tx);
          return call(tx, name, args);
        });
        await expect(attempt, name).rejects.toMatchObject({ code: "PE401" });
      }
    };
    await asTenant(t, "acme", (tx) => latest(tx, "run"));
    await refused((tx) => tx.query("set local role perch_app"));
    await refused((tx) => tx.query("select set_config('app.current_tenant_id', '', true)"));
    await expect(asTenant(t, "", (tx) => latest(tx, "run"))).rejects.toMatchObject({ code: "PE401" });
    for (const tenant of ["", null]) {
      const seen = await t.db.transaction(async (tx) => {
        await tx.query("set local role perch_app");
        await tx.query("select set_config('app.current_tenant_id', $1, true)", [tenant]);
        return tx.query("select * from perch.checkpoints");
      });
      expect(seen).toEqual([]);
    }
  });

  it("bind a superuser who calls, too", async () => {
    const [me] = await t.db.query<{ super: boolean }>(
      "select rolsuper as super from pg_roles where rolname = current_user",
    );
    expect(me).toEqual({ super: true });
    const seen = await t.db.transaction(async (tx) => {
      await tx.query("select perch.set_tenant(tenant_id => 'other')");
      return [
        await latest(tx, "run"),
        await history(tx, "run"),
        await value(tx, "delete_thread", { thread_id: "run" }),
      ];
    });
    expect(seen).toEqual([undefined, [], 0]);
  });
});
