import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { createPerchClient, type PerchClient } from "../../src/client/index.js";
import { packageRoot } from "../../src/database/package-root.js";
import { type PerchProcess, perchProcess } from "../support/perch-process.js";
import { userToken } from "../support/user-token.js";
import { type Cluster, openCluster } from "./cluster.js";
import { appId, assert, readUntil, spaceId } from "./reading.js";
import { writeWhileShardsMove } from "./under-load.js";

export interface CitusOptions {
  url: string;
  /** A shell command that restarts a worker node. */
  restart: string | undefined;
  seconds: number;
  report(line: string): void;
}

const tables = `
create table public.customers (id bigint primary key, name text not null);
create table public.countries (id text primary key, space_id text not null, name text not null);
create table public.tenants (id text primary key, space_id text not null);
create table public.plain (id text primary key, space_id text not null, title text not null);
create table public.orders (id text primary key, space_id text not null, title text not null, note text);
select create_distributed_table('public.customers', 'id');
select create_reference_table('public.countries');
select create_distributed_table('public.tenants', null, colocate_with => 'none');
select citus_add_local_table_to_metadata('public.orders');`;

const sync = (table: string, more = "") => `select perch.sync_table('public.${table}', '${appId}', 'space_id'${more})`;

/** Out: what a command of perch printed. Errors: when it ended with another code than 0. */
async function perch(url: string, ...args: string[]): Promise<string> {
  const program = join(packageRoot, "dist", "bin", "perch.js");
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args, "--database-url", url]);
  return stdout;
}

async function refusal(cluster: Cluster, sql: string): Promise<string> {
  return cluster.query(sql).then(
    () => "not refused",
    ({ code, message }: { code?: string; message?: string }) => `${code} ${message}`,
  );
}

async function migratesHereAlone(cluster: Cluster): Promise<void> {
  await perch(cluster.url, "migrate", "up");
  const again = await perch(cluster.url, "migrate", "up");
  assert(again.includes("up to date"), `a second migration had something to do: ${again}`);
  const elsewhere = await cluster.query<{ result: string }>(
    "select result from run_command_on_workers($$select count(*) from pg_namespace where nspname = 'perch'$$)",
  );
  assert(
    elsewhere.every(({ result }) => result === "0"),
    "a worker node has a schema perch",
  );
}

async function doctorFindsNothing(cluster: Cluster): Promise<void> {
  const lines = (await perch(cluster.url, "doctor", "--json").catch(({ stdout }: { stdout: string }) => stdout))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { name: string; level: string; detail: string });
  const wrong = lines.filter(({ name, level }) => /citus|catalog|roles|tables/.test(name) && level !== "ok");
  assert(wrong.length === 0, JSON.stringify(wrong));
  assert(
    lines.some(({ name }) => name === "citus"),
    "doctor says nothing of Citus",
  );
}

async function refusesWhatIsElsewhere(cluster: Cluster): Promise<void> {
  for (const [table, kind] of [
    ["customers", "distributed"],
    ["countries", "reference"],
    ["tenants", "distributed"],
  ]) {
    const space = table === "customers" ? ", space_id => 'team'" : ", space_column => 'space_id'";
    const said = await refusal(cluster, `select perch.sync_table('public.${table}', '${appId}'${space})`);
    assert(said.startsWith("PE422") && said.includes(`a ${kind} table of Citus`), `${table}: ${said}`);
  }
}

async function syncsWhatIsHere(cluster: Cluster): Promise<void> {
  await cluster.query(sync("plain"));
  const filter = ", row_filter => 'title <> ''hidden'' or perch.current_user_id() = ''ada'''";
  await cluster.query(sync("orders", `, writable_columns => '{title,note}', documents => '{"note":"text"}'${filter}`));
  const found = await cluster.query<{ table_name: string; problems: string[] }>(
    "select table_name, problems from perch.synced_tables where problems <> '{}'",
  );
  assert(found.length === 0, JSON.stringify(found));
  const said = await refusal(cluster, "select create_distributed_table('public.plain', 'id')");
  assert(/because it has triggers/.test(said), `a synced table was distributed: ${said}`);
}

const makeSpace = `begin; set local role perch_app; select perch.set_context(user_id => 'ada');
select perch.create_space('${spaceId}'), perch.set_space_member('${spaceId}', 'bob', 'editor'); commit`;

/** Each such transaction is prepared here, which Postgres refuses to one that has notified. */
async function commitsWithoutWorkers(cluster: Cluster): Promise<void> {
  await cluster.on(cluster.url, makeSpace);
  for (const [nth, url] of cluster.workerUrls.entries()) {
    const id = 100 + 50 * nth;
    await cluster.on(
      url,
      `begin; insert into public.customers select g, 'c' from generate_series(${id}, ${id + 49}) g;
       insert into public.orders values ('early${nth}', '${spaceId}', 't', 'note'); commit`,
    );
  }
}

async function mergesDocuments(cluster: Cluster, client: PerchClient): Promise<void> {
  const change = { op: "update" as const, table: "orders", id: "pushed", space_id: spaceId };
  const { results } = await client.push({ appId, changes: [{ ...change, data: { note: "words of a device" } }] });
  assert(results[0]?.status === "applied", JSON.stringify(results));
  for (const [nth, url] of cluster.workerUrls.entries()) {
    await cluster.on(
      url,
      `begin; insert into public.customers select g, 'c' from generate_series(${5_000 + 50 * nth}, ${5_049 + 50 * nth}) g;
       update public.orders set note = note || ', and of node ${nth}' where id = 'pushed'; commit`,
    );
  }
  const until = Date.now() + 30_000;
  for (;;) {
    const [left] = await cluster.query<{ writes: string; note: string }>(
      "select (select count(*) from perch.column_writes) as writes, note from public.orders where id = 'pushed'",
    );
    if (left?.writes === "0" && left.note === "words of a device, and of node 0, and of node 1") return;
    assert(Date.now() < until, `left to merge: ${left?.writes}; the column is "${left?.note}"`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

async function hearsOfEveryNode(cluster: Cluster, clients: readonly PerchClient[]): Promise<void> {
  const [ada, bob] = clients as [PerchClient, PerchClient];
  const wanted = ["early0", "early1", "here", "pushed", ...cluster.workerUrls.map((_, nth) => `node${nth}`)];
  const reading = readUntil(bob, "orders", (ids) => wanted.every((id) => ids.has(id)), 30_000);
  const insert = (id: string, title = "t") => `insert into public.orders values ('${id}', '${spaceId}', '${title}')`;
  await cluster.query(insert("here"));
  await cluster.query(insert("secret", "hidden"));
  for (const [nth, url] of cluster.workerUrls.entries()) await cluster.on(url, insert(`node${nth}`));
  const { results } = await ada.push({
    appId,
    changes: [{ op: "insert", table: "orders", id: "pushed", space_id: spaceId, data: { title: "t", note: "words" } }],
  });
  assert(results[0]?.status === "applied", JSON.stringify(results));
  const ids = await reading;
  const missing = wanted.filter((id) => !ids.has(id));
  assert(missing.length === 0, `not heard of: ${missing.join(", ")}`);
  assert(!ids.has("secret"), "a row that the filter hides was read");
}

async function commitsWithDistributedTables(cluster: Cluster, client: PerchClient): Promise<void> {
  const both = (id: string, end: string) =>
    `begin; insert into public.customers select g, 'c' from generate_series(${id}, ${id} + 49) g;
     insert into public.orders values ('${id}', '${spaceId}', 'with fifty customers'); ${end}`;
  const ids = [1_000, 2_000, 3_000, 4_000].map(String);
  for (const [nth, id] of ids.entries()) await cluster.on(cluster.url, both(id, nth % 2 === 0 ? "commit" : "rollback"));
  const read = await readUntil(client, "orders", (found) => found.has("3000"), 30_000);
  assert(read.has("1000") && read.has("3000"), "a committed transaction is not in the log");
  assert(!read.has("2000") && !read.has("4000"), "one that was rolled back is");
  const [count] = await cluster.query<{ count: string }>(
    "select count(*) from public.customers where id between 1000 and 4999",
  );
  assert(count?.count === "100", `${count?.count} customers instead of 100`);
}

async function servesShapes(cluster: Cluster, worker: PerchProcess | undefined): Promise<string> {
  const query = new URLSearchParams({ table: "orders", app_id: appId, offset: "-1", where: "title <> 'pushed'" });
  const answer = await fetch(`${worker?.httpUrl}/v1/shape?${query}`, {
    headers: { authorization: `Bearer ${userToken("bob")}` },
  });
  assert(answer.ok, await answer.clone().text());
  const messages = (await answer.json()) as { headers: { operation?: string } }[];
  const rows = messages.filter(({ headers }) => headers.operation === "insert").length;
  const [expected] = await cluster.query<{ count: string }>(
    "select count(*) from public.orders where title not in ('pushed', 'hidden')",
  );
  assert(rows === Number(expected?.count), `${rows} rows instead of ${expected?.count}`);
  return `${rows} rows`;
}

/** Errors: when the URL is not that of a cluster that it can use. Out: how many promises were kept, and how many not. */
export async function runOnCitus({ url, restart, seconds, report }: CitusOptions) {
  const cluster = await openCluster(url);
  const workers: PerchProcess[] = [];
  const clients = (): PerchClient[] =>
    ["ada", "bob"].map((user, nth) =>
      createPerchClient({ url: workers[nth]?.httpUrl ?? "", token: userToken(user), clientId: `of ${user}` }),
    );
  let passed = 0;
  let failed = 0;
  const check = async (promise: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      const measured = await work();
      passed++;
      report(`  ✓ ${promise}${typeof measured === "string" ? ` (${measured})` : ""}`);
    } catch (error) {
      failed++;
      report(`  ✗ ${promise}\n    ${error instanceof Error ? error.message : error}`);
    }
  };
  report(`Citus ${cluster.version}, ${cluster.workerUrls.length} worker nodes\n`);
  try {
    await cluster.query(tables);
    await check("perch migrate up makes its schema on this node alone", () => migratesHereAlone(cluster));
    await check("tables whose rows are elsewhere are refused", () => refusesWhatIsElsewhere(cluster));
    await check("tables of this node are synced, also one that Citus manages", () => syncsWhatIsHere(cluster));
    await check("every other node commits to it and to distributed tables, though no process of perch runs", () =>
      commitsWithoutWorkers(cluster),
    );
    await check("perch doctor knows it", () => doctorFindsNothing(cluster));
    for (const _ of ["ada", "bob"]) {
      const worker = await perchProcess({ args: ["worker"], env: { DATABASE_URL: url } });
      workers.push(worker);
      await worker.start();
    }
    const [ada, bob] = clients() as [PerchClient, PerchClient];
    await check("what any node writes to it, and a push, is heard at another process", () =>
      hearsOfEveryNode(cluster, [ada, bob]),
    );
    await check("what they write to a column that is a document is merged", () => mergesDocuments(cluster, ada));
    await check("a transaction over it and distributed tables is in the log once it is committed", () =>
      commitsWithDistributedTables(cluster, bob),
    );
    await check("a shape has its rows", () => servesShapes(cluster, workers[0]));
    await check(`nothing is lost while shards move${restart === undefined ? "" : " and a node restarts"}`, () =>
      writeWhileShardsMove(cluster, [ada, bob], { seconds, restart }),
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
    await cluster.close();
  }
  return { passed, failed };
}
