import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setPriority } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { LoroDoc } from "loro-crdt";
import { withContext } from "../../src/identity/context.js";
import { roomOf } from "../demo/document.js";
import { type Cluster, startCluster } from "../faults/cluster.js";
import { openEditor } from "../faults/editor.js";
import { seeded } from "../faults/random.js";
import { startSqlWriter } from "../faults/sql-writer.js";
import { judge } from "../faults/verdict.js";
import { askProbe, type LoopProbe, probeArgs } from "../support/loop-probe.js";
import { processorSeconds } from "../support/processor-time.js";
import type { AttackersReport, Orders } from "./attackers.js";
import { attacksNamed } from "./attacks.js";
import type { Lap, Question } from "./bystander-main.js";
import { secret } from "./target.js";

export interface HostileOptions {
  readonly seed: number;
  readonly seconds: number;
  /** Only attacks whose name it matches. */
  readonly only?: string | undefined;
  /** Nobody attacks: so many more do what the bystander does. */
  readonly honest?: number | undefined;
}

export interface HostileResult {
  readonly times: Readonly<Record<string, number>>;
  readonly sentBytes: number;
  /** The most that was held for one user at any time. */
  readonly heldBytes: number;
  /** p99 in ms by kind of work, in quiet and under attack. */
  readonly quiet: Readonly<Record<string, number>>;
  readonly attacked: Readonly<Record<string, number>>;
  /** How late the bystander's own process was meanwhile, at p99. */
  readonly bystanderDelay: number;
  /** How many processors the node and its database took meanwhile. */
  readonly processors: number;
  readonly loop: Pick<LoopProbe, "p99" | "max">;
  readonly memory: { readonly before: LoopProbe; readonly after: LoopProbe };
  readonly edits: number;
  /** Each a promise that was broken. */
  readonly wrong: readonly string[];
  readonly log: string;
}

const editors = 3;
const editEveryMs = 100;
const settlesWithinMs = 60_000;
const editorsNice = 10;
/** What no attack is called. */
const nobody = "^$";
/** As docs/operations.md has it: the allocator of the C library, left to itself, keeps what a process once needed at the same time. */
const malloc = { MALLOC_ARENA_MAX: "2", MALLOC_MMAP_THRESHOLD_: "131072", MALLOC_TRIM_THRESHOLD_: "131072" };
/** What was opened is kept half a minute for whoever comes back, and a thread that it has left too large is replaced half a minute later. */
const longestRestMs = 75_000;

export async function runHostile({ seed, seconds, only, honest }: HostileOptions): Promise<HostileResult> {
  const random = seeded(seed);
  const users = Array.from({ length: editors }, (_, n) => `user${n}`);
  const attacks = honest === undefined ? attacksNamed(only) : [];
  const attackers = attacks.map((_, n) => `mallory${n}`);
  const cluster = await startCluster({
    nodes: 1,
    documents: 2,
    users: [...users, "sql", "bystander", ...attackers],
    nodeArgs: probeArgs,
    env: malloc,
    // All that attackers ask of the database would pass through this process, where the bystander's clock is.
    straight: true,
  });
  try {
    await hideSecret(
      cluster,
      attackers.filter((_, n) => attacks[n]?.hasRows),
    );
    const [node] = cluster.nodes;
    if (node === undefined) throw new Error("there is no node");
    const { url: wsUrl, httpUrl } = node.process;
    const open = users.map((user) =>
      openEditor({ url: wsUrl, user, roomIds: cluster.places.map(roomOf), random: random.fork() }),
    );
    await Promise.all(open.map(({ ready }) => ready));
    const sql = startSqlWriter(cluster.db, cluster.places, "sql", random.fork());
    const bystander = fork(pathOf("./bystander-main.js"), [JSON.stringify({ httpUrl, wsUrl })]);
    await answerOf(bystander);
    let running = true;
    const typing = open.map(async (editor) => {
      while (running) {
        editor.edit();
        await pause(editEveryMs);
      }
    });

    // The machine of those who attack is another: what they do there is to cost the node nothing here. So their process has the least
    // priority, and beside the quiet one is that has it too and is never idle. So are the machines of those who edit, in this process.
    setPriority(editorsNice);
    const spinner = forkNice("./spinner.js");
    const quietMs = Math.max(5, seconds / 6) * 1_000;
    await pause(quietMs / 2);
    await ask<Lap>(bystander, "lap");
    await pause(quietMs);
    const quiet = await ask<Lap>(bystander, "lap");
    const before = await askProbe(node.process);

    const orders: Orders = {
      httpUrl,
      wsUrl,
      databaseUrls: { app: urlOf(cluster, "outsider"), nobody: urlOf(cluster, "stranger") },
      seed,
      users: attackers,
      only: honest === undefined ? only : nobody,
    };
    spinner.kill();
    const others =
      honest === undefined
        ? undefined
        : forkNice("./bystander-main.js", JSON.stringify({ httpUrl, wsUrl, others: honest }));
    const child = forkNice("./attackers.js", JSON.stringify(orders));
    const reported = once(child, "message") as Promise<[AttackersReport]>;
    let heldBytes = 0;
    const busy = () => processorSeconds(node.process.pid) + processorSeconds(cluster.postgres.pid());
    const busyBefore = busy();
    const began = Date.now();
    const until = began + seconds * 1_000;
    while (Date.now() < until && !node.process.ended && child.exitCode === null) {
      heldBytes = Math.max(heldBytes, await held(httpUrl));
      await pause(250);
    }
    const attacked = await ask<Lap>(bystander, "lap");
    const processors = (busy() - busyBefore) / ((Date.now() - began) / 1_000);
    others?.kill();
    const loop = await askProbe(node.process);
    if (child.exitCode === null) child.send("stop");
    const [report] = await Promise.race([reported, once(child, "exit").then(() => [undefined])]);

    running = false;
    await Promise.all(typing);
    await sql.stop();
    const alone = await ask<string[]>(bystander, "stop");
    await pause(Math.min(longestRestMs, Math.max(3_000, seconds * 500)));
    const after = await askProbe(node.process);
    const { losses, differences } = await judge({ cluster, open, closed: [], sql }, settlesWithinMs);
    for (const editor of open) editor.close();

    const wrong = [...losses, ...differences, ...alone, ...(report?.leaks ?? []), ...(report?.failures ?? [])];
    for (const editor of open) wrong.push(...editor.gaveUp.map((who) => `${who} gave up`));
    if (report === undefined) wrong.push("the attackers' process ended");
    if (node.process.ended) wrong.push("the node ended");
    for (const { name } of attacks) if (!report?.times[name]) wrong.push(`nobody tried: ${name}`);
    return {
      times: report?.times ?? {},
      sentBytes: report?.sentBytes ?? 0,
      heldBytes,
      quiet: quiet.p99,
      attacked: attacked.p99,
      bystanderDelay: attacked.ownDelay,
      processors,
      loop,
      memory: { before, after },
      edits: open.reduce((sum, { sheets }) => sum + sheets.reduce((each, { edits }) => each + edits.length, 0), 0),
      wrong,
      log: node.process.output,
    };
  } finally {
    await cluster.close();
  }
}

const pathOf = (script: string) => fileURLToPath(new URL(script, import.meta.url));

/** What a process says next. Errors: it ended instead. */
async function answerOf<T>(child: ChildProcess): Promise<T> {
  const ended = once(child, "exit").then(() => {
    throw new Error("the bystander's process ended");
  });
  const [answer] = (await Promise.race([once(child, "message"), ended])) as [T];
  return answer;
}

function ask<T>(child: ChildProcess, question: Question): Promise<T> {
  const answer = answerOf<T>(child);
  child.send(question);
  return answer;
}

/** A process that gets what processor time nobody else wants. */
const forkNice = (script: string, ...args: string[]) =>
  fork(pathOf(script), args, {
    execPath: "nice",
    execArgv: ["-n", "19", process.execPath],
  });

/** A record, a document and a row in a space of which nobody who attacks is a member, and two logins that may hardly anything. */
async function hideSecret({ db }: Cluster, withRows: readonly string[]): Promise<void> {
  await db.query("create role outsider login in role perch_app");
  await db.query("create role stranger login");
  const doc = new LoroDoc();
  doc.getText("body").insert(0, secret);
  doc.commit();
  await withContext(db, { userId: "keeper" }, async (tx) => {
    await tx.query("select perch.create_space(space_id => 'vault')");
    await tx.query("select perch.push(app_id => 'faults', client_id => 'k', changes => $1)", [
      JSON.stringify([{ op: "insert", table: "t", id: "plan", space_id: "vault", data: { text: secret } }]),
    ]);
    await tx.query(
      "select perch.push_update(app_id => 'faults', table_name => 'boards', record_id => 'plan', update => $1, space_id => 'vault')",
      [doc.export({ mode: "update" })],
    );
  });
  await db.query("create table tickets (id int primary key, team text, title text, hidden text)");
  await db.query(
    `select perch.sync_table(relation => 'tickets', app_id => 'faults', space_column => 'team', writable_columns => '{title}',
                             column_roles => '{"hidden": ["owner"]}')`,
  );
  await db.query("insert into tickets values (0, 'vault', $1, $1), (1, 'team', 'mine', $1)", [secret]);
  for (const [nth, user] of withRows.entries()) {
    await db.query(
      "insert into tickets select n, $1, repeat('a', 10000), 'x' from generate_series($2::int, $2 + 99) n",
      [`~${user}`, (nth + 1) * 1_000],
    );
  }
}

function urlOf({ postgres }: Cluster, login: string): string {
  const url = new URL(postgres.url());
  url.username = login;
  url.password = "";
  return url.href;
}

async function held(httpUrl: string): Promise<number> {
  const answer = await fetch(`${httpUrl}/metrics`).then(
    (response) => response.text(),
    () => "",
  );
  return Number(/^perch_held_bytes_of_one_user (\S+)/m.exec(answer)?.[1] ?? 0);
}
