import { expect, it } from "vitest";
import type { Queryable } from "../../../src/database/types.js";
import { describeEachEngine } from "../../support/databases.js";
import { asTenant, call, freshTenant, history, latest, put, value } from "../support.js";

/** Rows that this transaction has read so far from the tables of perch. */
async function rowsRead(tx: Queryable): Promise<number> {
  const [row] = await tx.query<{ rows: number }>(
    "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint as rows from pg_stat_xact_user_tables where schemaname = 'perch'",
  );
  return row?.rows ?? Number.NaN;
}

const graphId = (nth: number) => `1f0c0000-0000-6000-8000-${String(nth).padStart(12, "0")}`;

describeEachEngine("the cost of a step", (open) => {
  it("does not grow with the thread, nor with the number of threads, also with plans made when there was nothing", async () => {
    const t = await open();
    await asTenant(t, freshTenant(), async (tx) => {
      const state = (nth: number) => ({ a: "same", b: "long ".repeat(400), nth });
      const putGraph = (nth: number) =>
        value(tx, "put_channels", {
          tenant_id: null,
          thread_id: "graph",
          namespace: "",
          id: graphId(nth),
          parent_id: nth === 0 ? null : graphId(nth - 1),
          step: nth,
          metadata: "{}",
          checkpoint: JSON.stringify({ v: 4, channel_versions: { kept: 1, nth: nth + 1 } }),
          channels: nth === 0 ? ["kept", "nth"] : ["nth"],
          types: nth === 0 ? [null, null] : [null],
          starts: nth === 0 ? [1, 2] : [1],
          sizes: nth === 0 ? [1, 1] : [1],
          payload: Buffer.from(nth === 0 ? "77" : "7"),
        });
      const writeGraph = (nth: number) =>
        value(tx, "put_writes", {
          tenant_id: null,
          thread_id: "graph",
          namespace: "",
          checkpoint_id: graphId(nth),
          task_id: "task",
          idxs: [0],
          channels: ["nth"],
          types: [null],
          starts: [1],
          sizes: [1],
          payload: Buffer.from("7"),
        });
      const load = () => call(tx, "load_channels", { tenant_id: null, thread_id: "graph", namespace: "" });
      let head = await put(tx, "run", state(0));
      for (let nth = 0; nth < 300; nth++) {
        await putGraph(nth);
        await writeGraph(nth);
        head = await put(tx, "run", state(nth), { parent_id: head });
        await put(tx, `run-${nth}`, state(nth));
        await load();
        await latest(tx, "run");
      }
      const cost = async (work: () => Promise<unknown>) => {
        const before = await rowsRead(tx);
        await work();
        return (await rowsRead(tx)) - before;
      };
      expect(await cost(() => put(tx, "run", state(-1), { parent_id: head }))).toBeLessThan(12);
      expect(await cost(() => latest(tx, "run"))).toBeLessThan(12);
      expect(await cost(() => history(tx, "run", { max_count: 2 }))).toBeLessThan(24);
      const args = { thread_id: "run", parent_id: head, state: JSON.stringify(state(-2)) };
      expect(await cost(() => value(tx, "update_checkpoint_state", args))).toBeLessThan(24);
      expect(await cost(() => putGraph(300))).toBeLessThan(12);
      expect(await cost(() => writeGraph(300))).toBeLessThan(6);
      expect(await cost(load)).toBeLessThan(12);
      const one = { thread_id: "graph", namespace: "", max_count: 1 };
      expect(await cost(() => call(tx, "list_channels", one))).toBeLessThan(16);
    });
  });
});
