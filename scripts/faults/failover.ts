/**
 * The server of the database is killed, over and over, and another takes its place, while clients edit, push and put checkpoints through nodes
 * whose URL names both. It is a standby that is synchronous, and then nothing that was acknowledged may be gone; or one that has fallen behind, or
 * is made of a backup, and then that must be noticed before anybody is served.
 */
import { randomUUID } from "node:crypto";
import { examine } from "../../src/cli/doctor-checks.js";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/context.js";
import {
  backUp,
  type PostgresServer,
  type PostgresVersion,
  startPostgresServer,
} from "../../test/support/postgres-server.js";
import { counterOf } from "../demo/author.js";
import { type Place, readStored, roomOf } from "../demo/document.js";
import { freePort } from "../support/free-port.js";
import { type PerchProcess, perchProcess } from "../support/perch-process.js";
import { userToken } from "../support/user-token.js";
import { type Editor, openEditor } from "./editor.js";
import { seeded } from "./random.js";

/**
 * What takes the place of the server that was killed. synchronous, behind: its standby, which has all that was acknowledged, or not. restored: a
 * backup as it was made, which goes on as if nothing had been after it, on the same timeline. recovered: a backup, and the log up to a point.
 */
export type Successor = "synchronous" | "behind" | "restored" | "recovered";

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

export interface RoundResult {
  readonly successor: Successor;
  /** Acknowledged until the server was killed, over all rounds. */
  readonly pushes: number;
  readonly checkpoints: number;
  readonly edits: number;
  /** Of these, what the successor lacked. */
  readonly missing: number;
  /** From when it takes connections until each kind of client had something acknowledged again. */
  readonly resumedMs: number;
}

export interface FailoverResult {
  readonly rounds: readonly RoundResult[];
  /** Whatever must not be; empty, or perch is broken. */
  readonly wrong: readonly string[];
  readonly log: string;
}

const spaceId = "team";
const places: readonly Place[] = ["b1", "b2"].map((recordId) => ({
  spaceId,
  appId: "faults",
  tableName: "boards",
  recordId,
}));
const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
const ignore = () => undefined;
const patienceMs = 60_000;
/** What a standby that is behind lacks of each kind, at least. */
const behindBy = 10;

async function until(what: string, test: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + patienceMs; !(await test()); await pause(10)) {
    if (Date.now() > end) throw new Error(`${patienceMs / 1000} s have passed, and not yet: ${what}`);
  }
}

/** Somebody who does one thing after the other, and the same again until it is acknowledged. */
interface Writer {
  /** What has been acknowledged, in this order. */
  readonly acknowledged: readonly string[];
  stop(): Promise<void>;
}

function keepWriting(write: (id: string) => Promise<boolean>): Writer {
  const acknowledged: string[] = [];
  let stopped = false;
  const writing = (async () => {
    while (!stopped) {
      const id = randomUUID();
      while (!(await write(id))) {
        if (stopped) return;
        await pause(50);
      }
      acknowledged.push(id);
      await pause(5);
    }
  })();
  return {
    acknowledged,
    async stop() {
      stopped = true;
      await writing;
    },
  };
}

const headersOf = (user: string) => ({
  authorization: `Bearer ${userToken(user)}`,
  "content-type": "application/json",
});

/** Pushes through a node, with op_ids. */
function pushing(httpUrl: string, user: string, wrong: Set<string>): Writer {
  const headers = headersOf(user);
  return keepWriting(async (id) => {
    const changes = [{ op: "insert", table: "todos", id, op_id: id, space_id: spaceId, data: { title: id } }];
    const body = JSON.stringify({ app_id: "faults", client_id: user, changes });
    const answer = await fetch(`${httpUrl}/v1/push`, { method: "POST", headers, body }).catch(ignore);
    const text = await answer?.text().catch(ignore);
    if (answer === undefined || text === undefined) return false;
    if (answer.status !== 200 && answer.status !== 503) wrong.add(`a push was answered ${answer.status}: ${text}`);
    if (answer.status !== 200) return false;
    const [result] = (JSON.parse(text) as { results: { status: string }[] }).results;
    if (result?.status === "rejected") wrong.add(`a push was rejected: ${text}`);
    return result?.status === "applied" || result?.status === "replayed";
  });
}

/** Puts checkpoints from a program of its own. */
function checkpointing(db: Database, threadId: string, wrong: Set<string>): Writer {
  let step = 0;
  return keepWriting(async (id) => {
    try {
      await withContext(db, { userId: "agent", tenantId: "agents" }, (tx) =>
        tx.query("select perch.put_checkpoint(thread_id => $1, state => $2, step => $3, id => $4)", [
          threadId,
          JSON.stringify({ id }),
          step,
          id,
        ]),
      );
      step += 1;
      return true;
    } catch (error) {
      const code = String((error as { code?: unknown }).code);
      if (code.startsWith("PE")) wrong.add(`a checkpoint was refused: ${String(error)}`);
      return false;
    }
  });
}

/** Reads the log from its beginning, a page and again: what is answered after a promotion is of the epoch begun then. */
function watchingEpochs(httpUrl: string) {
  const answers: { begunAt: number; status: number; text: string }[] = [];
  let stopped = false;
  const watching = (async () => {
    while (!stopped) {
      const begunAt = Date.now();
      const answer = await fetch(`${httpUrl}/v1/pull`, {
        method: "POST",
        headers: headersOf("owner"),
        body: JSON.stringify({ app_id: "faults", page_size: 1 }),
      }).catch(ignore);
      const text = await answer?.text().catch(ignore);
      if (answer !== undefined && text !== undefined) answers.push({ begunAt, status: answer.status, text });
      await pause(2);
    }
  })();
  return {
    answers,
    async stop() {
      stopped = true;
      await watching;
    },
  };
}

async function prepare(db: Database, users: readonly string[]): Promise<void> {
  await migrate(db);
  await db.query("create role serving login in role perch_worker, perch_app");
  await db.query("create role agents login in role perch_app");
  const fields = { title: "string", body: "text", entries: "list", marks: "map", votes: "counter" };
  await db.query("select perch.declare_table(app_id => 'faults', table_name => 'boards', fields => $1)", [
    JSON.stringify(fields),
  ]);
  await db.transaction(async (tx) => {
    await tx.query("select perch.set_context(user_id => 'owner')");
    await tx.query("select perch.create_space(space_id => $1)", [spaceId]);
    for (const user of users) {
      await tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => 'editor')", [spaceId, user]);
    }
  });
}

const durable = {
  fsync: "on",
  synchronous_commit: "on",
  full_page_writes: "on",
  max_connections: 100,
  checkpoint_timeout: "1h",
};

/** What is there of what was acknowledged: out of the database itself, asked as superuser. Out: names of what is not. */
async function missingIn(db: Database, pushes: readonly string[], checkpoints: readonly string[]): Promise<string[]> {
  const rows = await db.query<{ kind: string; id: string }>(
    `select 'push' as kind, w.id from unnest($1::text[]) w (id)
      where not exists (select from perch.sync_changes c where c.space_id = '${spaceId}' and c.op_id = w.id)
        -- What found the counter of its space taken waits there for its number.
        and not exists (select from perch.captured_changes c where c.space_id = '${spaceId}' and c.op_id = w.id)
         or not exists (select from perch.stored_records r where r.space_id = '${spaceId}' and r.record_id = w.id)
     union all
     select 'checkpoint', w.id from unnest($2::text[]) w (id)
      where not exists (select from perch.stored_checkpoints c where c.tenant_id = 'agents' and c.id = w.id::uuid)`,
    [pushes, checkpoints],
  );
  return rows.map(({ kind, id }) => `${kind} ${id}`);
}

async function missingEdits(
  db: Database,
  edits: readonly { roomId: string; peer: string; count: number }[],
): Promise<string[]> {
  const missing: string[] = [];
  for (const place of places) {
    const { doc } = await readStored(db, place, "owner");
    for (const { roomId, peer, count } of edits) {
      if (roomId !== roomOf(place)) continue;
      const there = counterOf(doc, peer as `${number}`);
      if (there < count)
        missing.push(`${place.recordId}: of peer ${peer} ${count} operations are acknowledged, ${there} there`);
    }
    doc.free();
  }
  return missing;
}

const epochOf = async (db: Database) =>
  (await db.query<{ epoch: string }>("select perch.current_epoch() as epoch"))[0]?.epoch ?? "";

const pullFrom = async (httpUrl: string, cursor: unknown) => {
  const body = JSON.stringify({ app_id: "faults", cursor, page_size: 1 });
  const answer = await fetch(`${httpUrl}/v1/pull`, { method: "POST", headers: headersOf("owner"), body });
  return { status: answer.status, text: await answer.text() };
};

/** Where somebody has read to: the beginning of the log will do, as its entries stay whatever is restored. */
async function cursorBefore(httpUrl: string): Promise<unknown> {
  let cursor: unknown;
  await until("a page is pulled", async () => {
    const { status, text } = await pullFrom(httpUrl, undefined);
    if (status === 200) cursor = (JSON.parse(text) as { cursor: unknown }).cursor;
    return status === 200;
  });
  return cursor;
}

/** What is to take the place of a server. */
interface Copy {
  /** From now on it gets nothing any more. */
  fallBehind(): Promise<void>;
  /** The server was killed: what the copy has, before anybody can write to it. */
  asItIs(): Promise<Database>;
  /** Takes connections, and writes. */
  serve(): Promise<PostgresServer>;
  end(): Promise<void>;
}

const direct = (server: PostgresServer) => openPostgres({ url: server.url(), poolSize: 3, onError: ignore });

async function copyOf(
  primary: PostgresServer,
  db: Database,
  successor: Successor,
  own: { version: PostgresVersion; settings: Record<string, string | number>; port: number },
): Promise<Copy> {
  let server: PostgresServer | undefined;
  let ownDb: Database | undefined;
  const end = async () => {
    await ownDb?.close();
    await server?.close();
  };
  if (successor === "synchronous" || successor === "behind") {
    const standby = await startPostgresServer({ ...own, standbyOf: primary });
    server = standby;
    const standbyDb = direct(standby);
    ownDb = standbyDb;
    return {
      async fallBehind() {
        await standbyDb.query("alter system set primary_conninfo = ''");
        await standbyDb.query("select pg_reload_conf()");
        await until("the standby does not follow any more", async () => {
          const rows = await db.query("select from pg_stat_replication");
          return rows.length === 0;
        });
      },
      async asItIs() {
        await until("the standby has replayed what it has", async () => {
          const [row] = await standbyDb.query<{ done: boolean }>(
            "select pg_last_wal_replay_lsn() >= coalesce(pg_last_wal_receive_lsn(), '0/0') as done",
          );
          return row?.done ?? false;
        });
        return standbyDb;
      },
      async serve() {
        await standby.promote();
        return standby;
      },
      end,
    };
  }
  let backup = await backUp(primary, `${primary.data}-backup-${Date.now()}`);
  return {
    async fallBehind() {
      if (successor === "restored") return;
      await db.query("select pg_create_restore_point('wanted')");
      backup = { ...backup, upTo: "wanted" };
    },
    async asItIs() {
      // Where nobody looks for it yet.
      server = await startPostgresServer({ ...own, port: await freePort(), restored: backup });
      ownDb = direct(server);
      await until("it takes writes", async () => {
        const rows = await ownDb?.query<{ standby: boolean }>("select pg_is_in_recovery() as standby");
        return rows?.[0]?.standby === false;
      });
      return ownDb;
    },
    async serve() {
      const restored = server as PostgresServer;
      await ownDb?.close();
      await restored.stop();
      await restored.start(own.port);
      return restored;
    },
    end,
  };
}

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
    const settings = durable;
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
    const agents = openPostgres({ url: url("agents"), poolSize: 2, onError: ignore });
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
        await pause(random.between(10, 40));
      }
    });
    const pushers = nodes.map((node, n) => pushing(node.httpUrl, users[n % users.length] as string, wrong));
    const checkpointer = checkpointing(agents, "thread", wrong);
    const writers = [...pushers, checkpointer];
    const acknowledgedEdits = () =>
      editors.flatMap(({ sheets }) =>
        sheets.map(({ roomId, peer, acknowledged }) => ({ roomId, peer, count: acknowledged })),
      );
    const marks = () => [
      ...writers.map(({ acknowledged }) => acknowledged.length),
      ...editors.map(({ sheets }) => sheets.reduce((sum, { acknowledged }) => sum + acknowledged, 0)),
    ];
    const moreThan = (before: readonly number[], by = 0) =>
      marks().every((count, at) => count > (before[at] ?? 0) + by);
    /** Gone for good with a standby that was behind; a pusher does not push again what was acknowledged. */
    const given = new Set<string>();

    for (const [round, successor] of options.successors.entries()) {
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
      await pause(calmMs);
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

      await primary.killPostmaster();
      const killedAt = Date.now();
      // A backend that is busy learns of it when it has answered.
      await until("nobody is answered any more", async () => {
        const before = marks().join();
        await pause(100);
        return marks().join() === before;
      });
      const pushes = pushers.flatMap(({ acknowledged }) => acknowledged).filter((id) => !given.has(id));
      const checkpoints = checkpointer.acknowledged.filter((id) => !given.has(id));
      const edits = acknowledgedEdits();
      const standbyDb = await copy.asItIs();
      const missing = [...(await missingIn(standbyDb, pushes, checkpoints)), ...(await missingEdits(standbyDb, edits))];
      if (synchronous)
        for (const what of missing) wrong.add(`round ${round + 1}: ${what} was acknowledged, and is lost`);
      else {
        if (missing.length < behindBy) wrong.add(`round ${round + 1}: it lacked only ${missing.length}`);
        for (const what of missing) given.add(what.split(" ").at(-1) as string);
      }

      const watch = watchingEpochs(nodeOf(round).httpUrl);
      const down = marks();
      const promotedAt = Date.now();
      const standby = await copy.serve();
      await until("everybody has something acknowledged by the other server", () => moreThan(down));
      const resumedMs = Date.now() - promotedAt;
      await watch.stop();

      db = direct(standby);
      const served = db;
      ends.push(() => served.close());
      const now = await epochOf(db);
      if (now === epoch) wrong.add(`round ${round + 1}: the epoch is the one of before`);
      for (const { begunAt, status, text } of watch.answers) {
        if (begunAt < killedAt || status === 503) continue;
        if (status !== 200 || !text.includes(now))
          wrong.add(
            `round ${round + 1}: a pull after the kill was answered ${status}, and not of the new epoch: ${text.slice(0, 300)}`,
          );
      }
      if (!watch.answers.some(({ status }) => status === 200)) wrong.add(`round ${round + 1}: no pull was answered`);
      const [noted] = await db.query<{ lost: Record<string, unknown> }>("select lost from perch.last_epoch()");
      if (noted === undefined) wrong.add(`round ${round + 1}: it is not noted that the epoch was begun`);
      if (!synchronous && noted?.lost[spaceId] === undefined)
        wrong.add(`round ${round + 1}: it is not noted that ${spaceId} lost changes`);
      const told = (await examine(db)).find(({ name }) => name === "history");
      if (!synchronous && (told?.level !== "warning" || !told.detail.includes(`of space ${spaceId}`)))
        wrong.add(`round ${round + 1}: doctor does not say what was lost: ${told?.level} ${told?.detail}`);
      const old = await pullFrom(nodeOf(round).httpUrl, cursor);
      if (old.status !== 410 || !old.text.includes('"PE410"'))
        wrong.add(`round ${round + 1}: a cursor of before was answered ${old.status}: ${old.text.slice(0, 300)}`);
      const result: RoundResult = {
        successor,
        pushes: pushes.length,
        checkpoints: checkpoints.length,
        edits: edits.reduce((sum, { count }) => sum + count, 0),
        missing: missing.length,
        resumedMs,
      };
      rounds.push(result);
      options.onRound?.(result);
      await primary.close();
      primary = standby;
    }

    typing = false;
    await Promise.all([...typists, ...writers.map((writer) => writer.stop())]);
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
    const pushes = pushers.flatMap(({ acknowledged }) => acknowledged).filter((id) => !given.has(id));
    const checkpoints = checkpointer.acknowledged.filter((id) => !given.has(id));
    for (const what of await missingIn(db, pushes, checkpoints)) wrong.add(`in the end: ${what} is lost`);
    for (const { gaveUp } of editors) for (const who of gaveUp) wrong.add(`${who} gave up`);
    for (const [n, node] of nodes.entries()) if (node.ended) wrong.add(`node ${n + 1} ended`);
  } catch (error) {
    wrong.add(String((error as Error).stack ?? error));
  } finally {
    for (const end of ends.reverse()) await end().catch(ignore);
  }
  return { rounds, wrong: [...wrong], log: nodes.map(({ output }, n) => `node ${n + 1}\n${output}`).join("\n") };
}
