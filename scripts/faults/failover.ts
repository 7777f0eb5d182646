/**
 * The server of the database is killed, over and over, and another takes its place, while clients edit, push and put checkpoints through nodes
 * whose URL names both. It is a standby that is synchronous, and then nothing that was acknowledged may be gone; or one that has fallen behind, or
 * is made of a backup, and then that must be noticed before anybody is served.
 */
import { examine } from "../../src/cli/doctor-checks.js";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { type PostgresVersion, startPostgresServer } from "../../test/support/postgres-server.js";
import { counterOf } from "../demo/author.js";
import { type Place, readStored, roomOf } from "../demo/document.js";
import { freePort } from "../support/free-port.js";
import { type PerchProcess, perchProcess } from "../support/perch-process.js";
import { type Editor, openEditor } from "./editor.js";
import {
  checkpointing,
  cursorBefore,
  following,
  pullFrom,
  pushing,
  spaceId,
  type Writer,
  watchingEpochs,
  writingRows,
} from "./failover-clients.js";
import { seeded } from "./random.js";
import { copyOf, direct, ofServers, type Successor } from "./successors.js";
import { pause, until } from "./until.js";

export interface FailoverOptions {
  readonly version: PostgresVersion;
  /** One for each round. */
  readonly successors: readonly Successor[];
  readonly seed: number;
  readonly nodes: number;
  readonly clients: number;
  /** How long all is well before each kill. */
  readonly calmMs: number;
  readonly onRound?: (round: RoundResult) => void;
}

/** What is acknowledged; edits are operations of documents, which their clients bring back. */
export const kinds = ["push", "checkpoint", "row", "edit"] as const;
export type Kind = (typeof kinds)[number];

export type Resumed = Readonly<Record<string, number>>;

export interface RoundResult {
  readonly successor: Successor;
  /** Whether connections to the one before were left without a word, and not closed. */
  readonly vanishes: boolean;
  /** Acknowledged until the server was killed, over all rounds, and not lost in an earlier one. */
  readonly had: Readonly<Record<Kind, number>>;
  /** Of these, what the successor lacked. */
  readonly lacked: Readonly<Record<Kind, number>>;
  /** From its promotion until each client had something acknowledged again. */
  readonly resumedMs: Resumed;
}

export interface FailoverResult {
  readonly rounds: readonly RoundResult[];
  /** Whatever must not be; empty, or perch is broken. */
  readonly wrong: readonly string[];
  readonly log: string;
}

const places: readonly Place[] = ["b1", "b2"].map((recordId) => ({
  spaceId,
  appId: "faults",
  tableName: "boards",
  recordId,
}));
const ignore = () => undefined;
/** What a standby that is behind lacks of each kind, at least. */
const behindBy = 10;

async function prepare(db: Database, users: readonly string[]): Promise<void> {
  await migrate(db);
  await db.query("create role serving login in role perch_worker, perch_app");
  await db.query("create role agents login in role perch_app");
  const fields = { title: "string", body: "text", entries: "list", marks: "map", votes: "counter" };
  await db.query("select perch.declare_table(app_id => 'faults', table_name => 'boards', fields => $1)", [
    JSON.stringify(fields),
  ]);
  await db.query("create table faults_rows (id text primary key, team text not null)");
  await db.query("grant select, insert on faults_rows to agents");
  await db.query(
    "select perch.sync_table(relation => 'faults_rows', app_id => 'faults', table_name => 'rows', space_column => 'team')",
  );
  await db.transaction(async (tx) => {
    await tx.query("select perch.set_context(user_id => 'owner')");
    await tx.query("select perch.create_space(space_id => $1)", [spaceId]);
    for (const user of users) {
      await tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => 'editor')", [spaceId, user]);
    }
  });
}

/** Ids, or for an operation whose it is. */
type Named = Readonly<Record<Kind, readonly string[]>>;
type Edits = readonly { readonly roomId: string; readonly peer: string; readonly count: number }[];

const counted = (named: Named) =>
  Object.fromEntries(kinds.map((kind) => [kind, named[kind].length])) as Record<Kind, number>;

/** What is not there of what was acknowledged: asked of the database itself, as superuser. */
async function missingIn(db: Database, had: Omit<Named, "edit">, edits: Edits): Promise<Named> {
  const rows = await db.query<{ kind: Kind; id: string }>(
    `with numbered (id) as (
       select c.op_id from perch.sync_changes c where c.space_id = $1
       -- What found the counter of its space taken waits there for its number.
       union all select c.op_id from perch.captured_changes c where c.space_id = $1
     ), logged (id) as (
       select c.record_id from perch.sync_changes c where c.space_id = $1 and c.table_name = 'rows'
       union all select c.record_id from perch.captured_changes c where c.space_id = $1 and c.table_name = 'rows'
     )
     select 'push' as kind, w.id from unnest($2::text[]) w (id)
      where w.id not in (select n.id from numbered n where n.id is not null)
         or w.id not in (select r.record_id from perch.stored_records r where r.space_id = $1)
     union all
     select 'row', w.id from unnest($3::text[]) w (id)
      where w.id not in (select r.id from faults_rows r) or w.id not in (select l.id from logged l)
     union all
     select 'checkpoint', w.id from unnest($4::text[]) w (id)
      where w.id::uuid not in (select c.id from perch.stored_checkpoints c where c.tenant_id = 'agents')`,
    [spaceId, had.push, had.row, had.checkpoint],
  );
  const of = (kind: Kind) => rows.filter((row) => row.kind === kind).map(({ id }) => id);
  return { push: of("push"), row: of("row"), checkpoint: of("checkpoint"), edit: await missingEdits(db, edits) };
}

/** Out: once for each operation. */
async function missingEdits(db: Database, edits: Edits): Promise<string[]> {
  const missing: string[] = [];
  for (const place of places) {
    const { doc } = await readStored(db, place, "owner");
    for (const { roomId, peer, count } of edits) {
      if (roomId !== roomOf(place)) continue;
      const there = counterOf(doc, peer as `${number}`);
      const what = `${place.recordId}: of peer ${peer} ${count} are acknowledged, ${there} there`;
      missing.push(...Array.from({ length: Math.max(0, count - there) }, () => what));
    }
    doc.free();
  }
  return missing;
}

const epochOf = async (db: Database) =>
  (await db.query<{ epoch: string }>("select perch.current_epoch() as epoch"))[0]?.epoch ?? "";

export async function runFailover(options: FailoverOptions): Promise<FailoverResult> {
  const { version, nodes: nodeCount, clients, calmMs, seed } = options;
  const ends: (() => Promise<unknown>)[] = [];
  const wrong = new Set<string>();
  const rounds: RoundResult[] = [];
  const users = Array.from({ length: clients }, (_, n) => `user${n}`);
  const random = seeded(seed);
  const nodes: PerchProcess[] = [];
  try {
    const ports = [await freePort(), await freePort()] as const;
    const settings = ofServers;
    let primary = await startPostgresServer({ version, port: ports[0], settings });
    ends.push(() => primary.close());
    let db = direct(primary);
    ends.push(() => db.close());
    await prepare(db, [...users, "sql"]);

    const url = (login: string) =>
      `postgres://${login}@127.0.0.1:${ports[0]},127.0.0.1:${ports[1]}/postgres?target_session_attrs=read-write`;
    for (let n = 0; n < nodeCount; n++) {
      const node = await perchProcess({ args: ["worker"], env: { DATABASE_URL: url("serving") } });
      ends.push(() => node.kill());
      nodes.push(node);
    }
    await Promise.all(nodes.map((node) => node.start()));
    const nodeOf = (n: number) => nodes[n % nodes.length] as PerchProcess;
    const agents = openPostgres({ url: url("agents"), poolSize: 2, queryTimeoutMs: 5_000, onError: ignore });
    ends.push(() => agents.close());

    const editors = users.map((user, n) =>
      openEditor({ url: nodeOf(n).url, user, roomIds: places.map(roomOf), random: random.fork() }),
    );
    ends.push(async () => {
      for (const editor of editors) editor.close();
    });
    await Promise.all(editors.map(({ ready }) => ready));
    let typing = true;
    const typists = editors.map(async (editor: Editor) => {
      while (typing) {
        editor.edit();
        await pause(random.between(20, 80));
      }
    });
    const readers = nodes.map(({ httpUrl }) => following(httpUrl, "faults", wrong));
    ends.push(() => Promise.all(readers.map((reader) => reader.stop())));
    const writers: readonly { kind: Exclude<Kind, "edit">; writer: Writer }[] = [
      ...nodes.map(({ httpUrl }, n) => ({
        kind: "push" as const,
        writer: pushing(httpUrl, users[n % users.length] as string, wrong),
      })),
      { kind: "checkpoint", writer: checkpointing(agents, "thread", wrong) },
      { kind: "row", writer: writingRows(agents, wrong) },
    ];
    /** Gone for good with a server that was behind; nobody does again what was acknowledged. */
    const given = new Set<string>();
    const acknowledged = (): Omit<Named, "edit"> => {
      const of = (kind: Kind) =>
        writers
          .filter((each) => each.kind === kind)
          .flatMap(({ writer }) => writer.acknowledged)
          .filter((id) => !given.has(id));
      return { push: of("push"), checkpoint: of("checkpoint"), row: of("row") };
    };
    const acknowledgedEdits = () =>
      editors.flatMap(({ sheets }) => sheets.map(({ roomId, peer, acknowledged: count }) => ({ roomId, peer, count })));
    /** Whoever has something acknowledged, and how much. */
    const everybody: readonly { name: string; count(): number }[] = [
      ...writers.map(({ kind, writer }, n) => ({ name: `${kind} ${n}`, count: () => writer.acknowledged.length })),
      ...editors.map(({ user, sheets }) => ({
        name: `editor ${user}`,
        count: () => sheets.reduce((sum, sheet) => sum + sheet.acknowledged, 0),
      })),
    ];
    const marks = () => everybody.map(({ count }) => count());
    const behind = (before: readonly number[], by = 0) =>
      everybody.filter(({ count }, at) => count() <= (before[at] ?? 0) + by).map(({ name }) => name);
    const moreThan = (before: readonly number[], by = 0) => behind(before, by).length === 0;
    /** Waits until each has more, and says in what order they had. */
    async function resumed(before: readonly number[], since: number): Promise<Resumed> {
      const after: Record<string, number> = {};
      await until(
        () => `acknowledged by the other server: something of ${behind(before).join(", ")}`,
        () => {
          const late = behind(before);
          for (const { name } of everybody) if (!late.includes(name)) after[name] ??= Date.now() - since;
          return late.length === 0;
        },
      );
      return after;
    }

    for (const [round, successor] of options.successors.entries()) {
      const blame = (what: string) => wrong.add(`round ${round + 1}: ${what}`);
      const synchronous = successor === "synchronous";
      const otherPort = primary.port === ports[0] ? ports[1] : ports[0];
      const copy = await copyOf(primary, db, successor, { version, settings, port: otherPort });
      ends.push(copy.end);
      if (synchronous) {
        await db.query("alter system set synchronous_standby_names = '*'");
        await db.query("select pg_reload_conf()");
        await until("the standby is synchronous", async () => {
          const rows = await db.query<{ sync_state: string }>("select sync_state from pg_stat_replication");
          return rows[0]?.sync_state === "sync";
        });
        // What follows is acknowledged by both, and so is what came before it.
        await db.query("select pg_logical_emit_message(true, 'faults', 'a commit that waits')");
      }
      const start = marks();
      await pause(random.between(calmMs / 2, calmMs * 1.5));
      await until("everybody has something acknowledged", () => moreThan(start));
      if (!synchronous) {
        await copy.fallBehind();
        const cut = marks();
        // A node looks every second how far the logs have come: it knows what it has seen.
        await pause(2_500);
        await until("it is behind", () => moreThan(cut, behindBy));
      }
      const epoch = await epochOf(db);
      const cursor = await cursorBefore(nodeOf(round).httpUrl);
      const logged = nodes.map(({ output }) => output.length);
      const resyncs = readers.map((reader) => reader.resyncs);

      // As its postmaster dies, or as its machine does, of which nobody is told.
      const vanishes = random.next() < 0.5;
      await (vanishes ? primary.vanish() : primary.killPostmaster());
      const killedAt = Date.now();
      // A backend that is busy learns of it when it has answered.
      await until("nobody is answered any more", async () => {
        const before = marks().join();
        await pause(100);
        return marks().join() === before;
      });
      const had = acknowledged();
      const edits = acknowledgedEdits();
      const lacked = await missingIn(await copy.asItIs(), had, edits);
      const missing = kinds.flatMap((kind) => lacked[kind].map((id) => `${kind} ${id}`));
      if (synchronous) for (const what of missing) blame(`${what} was acknowledged, and is lost`);
      else if (missing.length < behindBy) blame(`it lacked only ${missing.length}`);
      for (const id of [...lacked.push, ...lacked.checkpoint, ...lacked.row]) given.add(id);

      const watch = watchingEpochs(nodeOf(round).httpUrl);
      const down = marks();
      const promotedAt = Date.now();
      const standby = await copy.serve();
      const resumedMs = await resumed(down, promotedAt);
      await watch.stop();

      db = direct(standby);
      const served = db;
      ends.push(() => served.close());
      const now = await epochOf(db);
      if (now === epoch) blame("the epoch is the one of before");
      for (const { begunAt, status, text } of watch.answers) {
        if (begunAt < killedAt || status === 503) continue;
        if (status !== 200 || !text.includes(now))
          blame(`a pull after the kill was answered ${status}, and not of the new epoch: ${text.slice(0, 300)}`);
      }
      if (!watch.answers.some(({ status }) => status === 200)) blame("no pull was answered");
      const [noted] = await db.query<{ lost: Record<string, unknown> }>("select lost from perch.last_epoch()");
      if (noted === undefined) blame("it is not noted that the epoch was begun");
      if (!synchronous) {
        if (noted?.lost[spaceId] === undefined) blame(`it is not noted that ${spaceId} lost changes`);
        const told = (await examine(db)).find(({ name }) => name === "history");
        if (told?.level !== "warning" || !told.detail.includes(`of space ${spaceId}`))
          blame(`doctor does not say what was lost: ${told?.level} ${told?.detail}`);
        const said = nodes.map(({ output }, n) => output.slice(logged[n])).join("\n");
        if (!said.includes(`gone are at least of space ${spaceId} `)) blame("no node logged what was lost");
      }
      const old = await pullFrom(nodeOf(round).httpUrl, cursor);
      if (old.status !== 410 || !old.text.includes('"PE410"'))
        blame(`a cursor of before was answered ${old.status}: ${old.text.slice(0, 300)}`);
      await until("the readers are told", () => readers.every((reader, n) => reader.resyncs > (resyncs[n] ?? 0)));
      const total = edits.reduce((sum, { count }) => sum + count, 0);
      const result: RoundResult = {
        successor,
        vanishes,
        had: { ...counted({ ...had, edit: [] }), edit: total },
        lacked: counted(lacked),
        resumedMs,
      };
      rounds.push(result);
      options.onRound?.(result);
      await primary.close();
      primary = standby;
    }

    typing = false;
    await Promise.all([...typists, ...writers.map(({ writer }) => writer.stop())]);
    // Also what a database lacked that had fallen behind: their clients have it, and bring it back.
    await until("all edits are stored, and on every screen", async () => {
      for (const place of places) {
        const { doc } = await readStored(db, place, "owner");
        const sheets = editors.flatMap((editor) => editor.sheets.filter(({ roomId }) => roomId === roomOf(place)));
        const equal = sheets.every((sheet) => sheet.doc.version().compare(doc.version()) === 0);
        doc.free();
        if (!equal) return false;
      }
      return true;
    });
    await until("the readers show what is stored", async () => {
      const stored = await db.query<{ table: string; ids: string[] }>(
        `select 'todos' as table, array(select record_id from perch.stored_records where table_name = 'todos') as ids
         union all select 'rows', array(select id from faults_rows)`,
      );
      return stored.every(({ table, ids }) =>
        readers.every((reader) => {
          const shown = reader.shown(table);
          return shown.size === ids.length && ids.every((id) => shown.has(id));
        }),
      );
    });
    const lost = await missingIn(db, acknowledged(), []);
    for (const kind of kinds) for (const id of lost[kind]) wrong.add(`in the end: ${kind} ${id} is lost`);
    for (const { gaveUp } of editors) for (const who of gaveUp) wrong.add(`${who} gave up`);
    for (const [n, node] of nodes.entries()) if (node.ended) wrong.add(`node ${n + 1} ended`);
  } catch (error) {
    wrong.add(String((error as Error).stack ?? error));
  } finally {
    for (const end of ends.reverse()) await end().catch(ignore);
  }
  return { rounds, wrong: [...wrong], log: nodes.map(({ output }, n) => `node ${n + 1}\n${output}`).join("\n") };
}
