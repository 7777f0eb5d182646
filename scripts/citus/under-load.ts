import { exec } from "node:child_process";
import { promisify } from "node:util";
import type { PerchClient } from "../../src/client/index.js";
import type { Cluster } from "./cluster.js";
import { appId, assert, readUntil, spaceId } from "./reading.js";

/** What was committed, as its writer was told, and what it cannot know of. */
interface Written {
  readonly acknowledged: Set<string>;
  readonly unknown: Set<string>;
}

/** Rows of the synced table and the distributed one in one transaction, through each node in turn. Its ids are numbers from `from`. */
async function writeBoth(cluster: Cluster, urls: readonly string[], from: number, until: number): Promise<Written> {
  const written: Written = { acknowledged: new Set(), unknown: new Set() };
  for (let id = from; Date.now() < until; id++) {
    const url = urls[id % urls.length] ?? cluster.url;
    const sql = `begin; insert into public.customers values (${id}, 'under load');
                 insert into public.orders values ('${id}', '${spaceId}', 'under load'); commit`;
    await cluster.on(url, sql).then(
      () => written.acknowledged.add(String(id)),
      // A node that restarts may have committed it and not said so.
      () => written.unknown.add(String(id)),
    );
  }
  return written;
}

async function push(client: PerchClient, from: number, until: number): Promise<Written> {
  const written: Written = { acknowledged: new Set(), unknown: new Set() };
  for (let id = from; Date.now() < until; id++) {
    const change = {
      op: "insert" as const,
      table: "orders",
      id: String(id),
      space_id: spaceId,
      data: { title: "pushed" },
    };
    const { results } = await client.push({ appId, changes: [change] });
    written[results[0]?.status === "applied" ? "acknowledged" : "unknown"].add(String(id));
  }
  return written;
}

/** Every shard of the distributed table to the other node, again and again. Out: how many times one was moved. */
async function moveShards(cluster: Cluster, until: number): Promise<number> {
  let moved = 0;
  while (Date.now() < until) {
    const [shard] = await cluster.query<{ id: string; host: string; port: number; to_host: string; to_port: number }>(
      `select s.shardid as id, s.nodename as host, s.nodeport as port, n.nodename as to_host, n.nodeport as to_port
         from citus_shards s
         join pg_dist_node n on n.groupid <> 0 and (n.nodename, n.nodeport) <> (s.nodename, s.nodeport)
        where s.table_name = 'public.customers'::regclass
        order by random() limit 1`,
    );
    assert(shard !== undefined, "the distributed table has no shard");
    await cluster
      .query("select citus_move_shard_placement($1, $2, $3, $4, $5, 'block_writes')", [
        shard.id,
        shard.host,
        shard.port,
        shard.to_host,
        shard.to_port,
      ])
      .then(
        () => moved++,
        // While a node is away none can be moved.
        () => new Promise((done) => setTimeout(done, 200)),
      );
  }
  return moved;
}

async function restartNode(command: string | undefined, atMs: number): Promise<void> {
  if (command === undefined) return;
  await new Promise((done) => setTimeout(done, atMs));
  await promisify(exec)(command);
}

/** Errors: when a row that was acknowledged is not in the table, not in the log, or in one of two tables that were written together. Out: figures. */
export async function writeWhileShardsMove(
  cluster: Cluster,
  [ada, bob]: readonly [PerchClient, PerchClient],
  { seconds, restart }: { seconds: number; restart: string | undefined },
): Promise<string> {
  const until = Date.now() + seconds * 1_000;
  const urls = [cluster.url, ...cluster.workerUrls];
  const [, moved, ...all] = await Promise.all([
    restartNode(restart, seconds * 300),
    moveShards(cluster, until),
    writeBoth(cluster, urls, 1_000_000, until),
    writeBoth(cluster, urls, 2_000_000, until),
    push(ada, 3_000_000, until),
    push(bob, 4_000_000, until),
  ]);
  const rows = await cluster.query<{ id: string; of_customer: boolean; together: boolean }>(
    `select o.id, c.id is not null as of_customer, o.id::bigint < 3000000 as together
       from (select id from public.orders where id ~ '^[1-4]\\d{6}$') o
       left join public.customers c on c.id = o.id::bigint`,
  );
  const [customers] = await cluster.query<{ count: string }>(
    "select count(*) from public.customers where id >= 1000000",
  );
  const stored = new Set(rows.map(({ id }) => id));
  const torn = rows.filter(({ of_customer, together }) => of_customer !== together);
  assert(torn.length === 0, `${torn.length} rows are in one of two tables: ${torn[0]?.id}`);
  assert(Number(customers?.count) === rows.filter(({ together }) => together).length, "customers without their order");
  const read = await readUntil(bob, "orders", (ids) => [...stored].every((id) => ids.has(id)), 60_000);
  for (const { acknowledged } of all)
    for (const id of acknowledged) {
      assert(stored.has(id), `${id} was acknowledged, and is not in the table`);
      assert(read.has(id), `${id} was acknowledged, and is not in the log`);
    }
  for (const id of read)
    assert(!/^[1-4]\d{6}$/.test(id) || stored.has(id), `${id} is in the log, and not in the table`);
  const count = all.reduce((sum, { acknowledged }) => sum + acknowledged.size, 0);
  const unknown = all.reduce((sum, written) => sum + written.unknown.size, 0);
  assert(moved > 0 && count > 0, `${moved} shards were moved, and ${count} transactions written`);
  return `${count} transactions, ${unknown} broken off, ${moved} shards moved`;
}
