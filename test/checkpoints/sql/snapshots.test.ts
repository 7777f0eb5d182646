/** Checkpoints in transactions that keep the snapshot of their first statement, while others prune. */
import { randomUUID } from "node:crypto";
import { expect, it } from "vitest";
import type { Queryable } from "../../../src/database/types.js";
import { describeEachPostgres, type TestDatabase } from "../../support/databases.js";
import { asTenant, call, freshTenant, put, value } from "../support.js";

const long = JSON.stringify("x".repeat(2_000));

const putChannel = (tx: Queryable, tenant: string, id: string, text: string) =>
  tx.query(
    `select perch.put_channels($1, 'graph', '', id => $2, parent_id => null, step => 1, metadata => '{}',
       checkpoint => '{"channel_versions": {"k": 1}}', channels => '{k}', types => '{null}', starts => '{1}',
       sizes => array[octet_length($3::text)], payload => convert_to($3::text, 'UTF8'))`,
    [tenant, id, text],
  );
const putWrite = (tx: Queryable, tenant: string, id: string, text: string) =>
  tx.query(
    `select perch.put_writes($1, 'graph', '', $2, task_id => 't', idxs => '{0}', channels => '{k}', types => '{null}',
       starts => '{1}', sizes => array[octet_length($3::text)], payload => convert_to($3::text, 'UTF8'))`,
    [tenant, id, text],
  );
const prune = (tx: Queryable) => value<number>(tx, "prune_checkpoints", { keep_last: 1 });

describeEachPostgres("a transaction that keeps its snapshot", (open) => {
  const keeping = <T>(t: TestDatabase, tenant: string, work: (tx: Queryable) => Promise<T>) =>
    t.db.transaction(async (tx) => {
      await tx.query("set transaction isolation level repeatable read");
      await tx.query("set local role perch_app");
      await tx.query("select perch.set_tenant(tenant_id => $1)", [tenant]);
      return work(tx);
    });

  it("puts nothing on a checkpoint that was pruned since", async () => {
    const t = await open();
    const tenant = freshTenant();
    const parent = await asTenant(t, tenant, (tx) => put(tx, "run", { plan: "p", kept: "k" }));
    await asTenant(t, tenant, (tx) => put(tx, "run", { other: 1 }));
    const late = keeping(t, tenant, async (tx) => {
      expect(await asTenant(t, tenant, prune)).toBe(1);
      return put(tx, "run", { plan: "p", kept: "k", more: 1 }, { parent_id: parent });
    });
    await expect(late).rejects.toMatchObject({ code: "40001" });
  });

  it("prunes nothing that was written since needs", async () => {
    const t = await open();
    const tenant = freshTenant();
    const [older, head] = [randomUUID(), randomUUID()];
    await asTenant(t, tenant, async (tx) => {
      await putChannel(tx, tenant, older, long);
      await putChannel(tx, tenant, head, "1");
    });
    await keeping(t, tenant, async (tx) => {
      // It shares the text of the checkpoint that goes.
      await asTenant(t, tenant, (other) => putWrite(other, tenant, head, long));
      expect(await prune(tx)).toBe(1);
    });
    const rows = await asTenant(t, tenant, (tx) =>
      call<{ kind: string; json_text: string }>(tx, "load_channels", {
        tenant_id: tenant,
        thread_id: "graph",
        namespace: "",
      }),
    );
    expect(rows.filter(({ kind }) => kind === "write").map(({ json_text }) => json_text)).toEqual([long]);
    expect(await asTenant(t, tenant, prune)).toBe(0);
  });
});
