import { randomUUID } from "node:crypto";
import { migrate } from "../migrate.js";
import { canServe, migrationStatus } from "../migration-status.js";
import type { Database, Queryable, Transaction } from "../types.js";
import { type Declarations, declarationsOf, declareThere, enactThere, lackingThere } from "./declarations.js";
import { as, fencing, lockingAll, type MoveState, makeSource, makeTarget, moveState, noting, without } from "./ends.js";
import {
  countsOf,
  digestsBehind,
  digestsOf,
  type Key,
  nameOf,
  pageOf,
  parted,
  put,
  putAll,
  type Row,
  rowsOf,
  settled,
} from "./rows.js";
import { type MovedTable, movedSequences, movedTables, occupied } from "./tables.js";

export interface MoveOptions {
  readonly from: Database;
  readonly to: Database;
  /** For people, without passwords. */
  readonly fromName: string;
  readonly toName: string;
  /** Ends before anybody is refused: what is copied is kept, and the next run goes on. */
  readonly copyOnly?: boolean;
  /** Told what is going on: once for each step. */
  readonly onStep?: (step: string) => void;
  /** Told how far a step is, again and again. */
  readonly onProgress?: (progress: string) => void;
}

export interface MoveResult {
  /** Of each table, how many rows it has at both ends: its relation, quoted. */
  readonly counts: ReadonlyMap<string, number>;
  /** For how long the source took no writes before the target did; undefined when it takes them still. */
  readonly stoppedMs: number | undefined;
}

/** Why a move cannot begin, or go on, in words that say what to do. */
export class MoveRefused extends Error {
  constructor(message: string) {
    super(message);
    this.name = "MoveRefused";
  }
}

/** So few rows are left to the stop, if the source lets it come to that within so many rounds. */
const fewRows = 500;
const maxRounds = 20;
/** What takes longer than a stop may. A source that writes as much all the time is stopped for longer after so many attempts. */
const manyNotes = 5_000;
const maxAttempts = 5;

/**
 * Moves everything of perch from one database to another, and what is in the app's synced tables.
 *
 * Why nothing that was acknowledged is lost. (1) From before the first row is read, a trigger notes the key of every row that is written, in
 * the transaction that writes it; so a row that changes after it was read has a note that is committed with the change. (2) Notes are
 * taken after reading: what a note names is read and written again, and only then is the note deleted. So at any time, whatever differs
 * between the ends has a note. (3) The fence is a trigger, made in one transaction that holds a lock on every table against writers. It
 * waits for all who have written to commit, and with them their notes; whoever writes later is refused, whatever the age of their
 * snapshot, since triggers are looked up as they are. (4) Behind the fence all notes are taken, so the ends are equal. (5) That is not
 * taken on trust: while the source is served every row is compared by its digest; in the stop those that were written since, and the
 * numbers of rows of all tables. Only then is the source marked as moved, for good, and after that the target opened.
 *
 * It may be killed anywhere and run again: the target notes how far each table was copied in the transaction that copies; whatever is
 * done twice is the same as done once. Two runs at once: each transaction holds the row that names the run, and the later run wins.
 *
 * Throws MoveRefused before anything was done that somebody would notice, other errors with the source taking writes again, if it can be
 * reached and was not marked as moved.
 */
export async function move(options: MoveOptions): Promise<MoveResult> {
  const { from, to, copyOnly = false, onStep = () => undefined, onProgress = () => undefined } = options;
  const run = randomUUID();
  const phase = await begin(options, run);
  if (phase === "done") return { counts: new Map(), stoppedMs: undefined };
  const ends = createEnds(from, to, run);
  const tables = await sameTables(ends);
  const locking = { run, onWait: onProgress };
  let total = 0;
  /** What could not be written yet; also at the target, for the next run. */
  const leftOut = createKeys();
  for (const { relation, key } of await to.query<{ relation: string; key: Key }>(
    "select relation, key from perch_move.left_out",
  ))
    leftOut.add(relation, key);

  async function noteLeftOut(tx: Queryable, { relation }: MovedTable, keys: readonly Key[], now: readonly Key[]) {
    const before = keys.filter((key) => leftOut.remove(relation, key));
    for (const key of before)
      await tx.query("delete from perch_move.left_out where relation = $1 and key = $2", [relation, key]);
    for (const key of now) {
      leftOut.add(relation, key);
      await tx.query("insert into perch_move.left_out (relation, key) values ($1, $2)", [relation, key]);
    }
  }

  /** Copies what is not copied yet, from where an earlier run came to. */
  async function copyAll(): Promise<void> {
    const names = tables.map(({ relation }) => relation);
    await ends.write((tx) =>
      tx.query("insert into perch_move.progress (relation) select unnest($1::text[]) on conflict do nothing", [names]),
    );
    // Behind the notes: whatever comes into them from now on is noted.
    const some = await ends.read((tx) => countsOf(tx, tables, 1));
    const empty = names.filter((name) => some.get(name) === 0);
    await ends.write((tx) =>
      tx.query("update perch_move.progress set is_whole = true where after is null and relation = any ($1)", [empty]),
    );
    const begun = await to.query<{ relation: string; after: Key | null }>(
      "select relation, after from perch_move.progress where not is_whole",
    );
    for (const table of tables) {
      const place = begun.find(({ relation }) => relation === table.relation);
      if (place !== undefined) await copy(table, place.after);
    }
  }

  async function copy(table: MovedTable, from: Key | null): Promise<void> {
    for (let after = from; ; ) {
      const last: Key | null = after;
      const rows: Row[] = await ends.read((tx) => pageOf(tx, table, last));
      after = rows.at(-1)?.key ?? after;
      const keys = rows.map(({ key }) => key);
      await ends.write(async (tx) => {
        if (rows.length > 0) await noteLeftOut(tx, table, keys, await put(tx, table, keys, rows));
        await tx.query("update perch_move.progress set after = $2, is_whole = $3 where relation = $1", [
          table.relation,
          after,
          rows.length === 0,
        ]);
      });
      if (rows.length === 0) return;
      total += rows.length;
      onProgress(`${table.relation}: ${total} rows copied in all`);
    }
  }

  /** Takes all notes that are there: those that come meanwhile, as they do without end while the source is served, are the next round's. Out: the keys. */
  async function catchUp(): Promise<Keys> {
    const written = createKeys();
    const [last] = await from.query<{ number: number }>(
      "select coalesce(max(number), 0) as number from perch_move.changed",
    );
    for (;;) {
      const notes = await from.query<{ number: number; relation: string; key: Key | null }>(
        "select number, relation, key from perch_move.changed where number <= $1 order by number limit 2000",
        [last?.number],
      );
      if (notes.length === 0) return written;
      const named = createKeys();
      for (const { relation, key } of notes) if (key !== null) named.add(relation, key);
      const truncated = new Set(notes.flatMap(({ relation, key }) => (key === null ? [relation] : [])));
      for (const table of tables) {
        if (truncated.has(table.relation)) await copyAnew(table, written);
        for (const keys of await ends.read((tx) => parted(tx, table, named.of(table.relation)))) {
          const rows = await ends.read((tx) => rowsOf(tx, table, keys));
          await ends.write(async (tx) => noteLeftOut(tx, table, keys, await put(tx, table, keys, rows)));
          for (const key of keys) written.add(table.relation, key);
        }
      }
      await from.query("delete from perch_move.changed where number = any ($1)", [notes.map(({ number }) => number)]);
      onProgress(`${written.size()} rows that were written meanwhile`);
    }
  }

  async function copyAnew(table: MovedTable, written: Keys): Promise<void> {
    await ends.write(async (tx) => {
      await tx.query(`delete from ${table.relation}`);
      await noteLeftOut(tx, table, leftOut.of(table.relation), []);
      await tx.query("update perch_move.progress set after = null, is_whole = false where relation = $1", [
        table.relation,
      ]);
    });
    await copy(table, null);
    await eachPage(table, (rows) => {
      for (const { key } of rows) written.add(table.relation, key);
    });
  }

  /** Looks at all rows of the source. */
  async function eachPage(
    table: MovedTable,
    look: (rows: readonly { key: Key; digest: string }[]) => void | Promise<void>,
  ): Promise<void> {
    for (let after: Key | null = null; ; ) {
      const last: Key | null = after;
      const rows: { key: Key; digest: string }[] = await ends.read((tx) => digestsBehind(tx, table, last));
      if (rows.length === 0) return;
      await look(rows);
      after = rows.at(-1)?.key ?? after;
    }
  }

  /** Compares every row of the source with the target. Out: those that differ. */
  async function compareAll(): Promise<Keys> {
    const differing = createKeys();
    let compared = 0;
    const some = await ends.read((tx) => countsOf(tx, tables, 1));
    for (const table of tables) {
      if (some.get(table.relation) === 0) continue;
      await eachPage(table, async (rows) => {
        const keys = rows.map(({ key }) => key);
        const there = await ends.look((tx) => digestsOf(tx, table, keys));
        for (const { key, digest } of rows) if (there.get(nameOf(key)) !== digest) differing.add(table.relation, key);
        compared += rows.length;
        onProgress(`${table.relation}: ${compared} rows compared in all`);
      });
    }
    return differing;
  }

  /** Compares these rows. Out: those that differ. */
  async function compare(keys: Keys): Promise<Keys> {
    const differing = createKeys();
    for (const table of tables) {
      for (const some of await ends.read((tx) => parted(tx, table, keys.of(table.relation)))) {
        const here = await ends.read((tx) => digestsOf(tx, table, some));
        const there = await ends.look((tx) => digestsOf(tx, table, some));
        for (const key of some)
          if (here.get(nameOf(key)) !== there.get(nameOf(key))) differing.add(table.relation, key);
      }
    }
    return differing;
  }

  /** What could not be written yet, and what a comparison found. */
  async function copyAgain(found: Keys): Promise<Keys> {
    const all = createKeys(found);
    all.addAll(leftOut);
    for (const table of tables) {
      const keys = all.of(table.relation);
      if (keys.length === 0) continue;
      const rows: Row[] = [];
      for (const some of await ends.read((tx) => parted(tx, table, keys)))
        rows.push(...(await ends.read((tx) => rowsOf(tx, table, some))));
      if (fenced) {
        await ends.write(async (tx) => {
          await putAll(tx, table, keys, rows);
          await noteLeftOut(tx, table, keys, []);
        });
      } else await ends.write(async (tx) => noteLeftOut(tx, table, keys, await put(tx, table, keys, rows)));
    }
    return all;
  }

  /** Gives what is captured its numbers, which count by the transactions of its server. */
  async function sequence(): Promise<void> {
    for (const deadline = Date.now() + 30_000; ; await new Promise((done) => setTimeout(done, 20))) {
      const [waiting] = await from.query<{ any: boolean }>("select exists (select from perch.captured_changes) as any");
      if (!waiting?.any) return;
      if (Date.now() > deadline) throw new Error("changes of synced tables do not get their numbers; see perch doctor");
      await from.transaction(async (tx) => {
        await as(tx, run);
        await tx.query("select perch.sequence_changes()");
      });
    }
  }

  async function counts(): Promise<Map<string, number>> {
    const [here, there] = await Promise.all([
      ends.read((tx) => countsOf(tx, tables)),
      ends.look((tx) => countsOf(tx, tables)),
    ]);
    const wrong = [...here].filter(([relation, count]) => there.get(relation) !== count);
    if (wrong.length === 0) return here;
    const told = wrong.map(([relation, count]) => `${relation} has ${count} rows, and ${there.get(relation)} there`);
    throw new Error(`the ends are not the same: ${told.join("; ")}`);
  }

  let fenced = phase === "moved";
  if (!fenced) {
    onStep("copying");
    await lockingAll(from, tables, await missingNotes(from, tables), locking);
    await copyAll();
    await to.query("analyze");
    onStep("comparing");
    await catchUp();
    let found = await compareAll();
    for (let attempt = 1; ; attempt += 1) {
      for (let round = 0; round < maxRounds; round += 1) {
        const touched = await catchUp();
        touched.addAll(found);
        touched.addAll(await copyAgain(found));
        found = await compare(touched);
        if (touched.size() < fewRows) break;
      }
      if (copyOnly) return { counts: new Map(), stoppedMs: undefined };
      const stoppedMs = await stop(found, attempt < maxAttempts);
      if (stoppedMs !== undefined) return stoppedMs;
      onProgress("too much was written just then for a short stop; the source goes on for a while");
    }
  }
  onStep("comparing");
  requireEqual(await compareAll());
  return { counts: await finish(), stoppedMs: undefined };

  /**
   * Behind the fence: the rest. In: `mayGoOn`: should the rest be too much for a short stop, the source is served again. Out: undefined then.
   */
  async function stop(found: Keys, mayGoOn: boolean): Promise<MoveResult | undefined> {
    onStep("stopping");
    const stopped = performance.now();
    try {
      await lockingAll(
        from,
        tables,
        [...tables.flatMap(fencing), "update perch_move.state set phase = 'fenced'"],
        locking,
      );
      fenced = true;
      await sequence();
      const [notes] = await from.query<{ count: number }>("select count(*) as count from perch_move.changed");
      if (mayGoOn && (notes?.count ?? 0) > manyNotes) {
        fenced = false;
        await liftFence(from, run, tables);
        return undefined;
      }
      const touched = await catchUp();
      touched.addAll(await copyAgain(found));
      requireEqual(await compare(touched));
      return { counts: await finish(), stoppedMs: performance.now() - stopped };
    } catch (error) {
      if ((await moveState(from))?.phase !== "moved") await liftFence(from, run, tables);
      throw error;
    }
  }

  async function finish(): Promise<Map<string, number>> {
    const found = await counts();
    await requireNoMoreTables(from, tables);
    // Read before it is marked: whoever serves an embedded folder ends then, and nobody may have it any more.
    const content = await besideRows(ends);
    if (phase !== "moved") {
      await from.transaction(async (tx) => {
        await as(tx, run);
        await tx.query("update perch_move.state set phase = 'moved'");
      });
    }
    await openTarget(ends, tables, content);
    return found;
  }
}

/** Gives a move up: the source is as it was. Throws MoveRefused when there is none, or when it is done. */
export async function abortMove(from: Database): Promise<void> {
  const state = await moveState(from);
  if (state?.direction !== "out") throw new MoveRefused("no move from this database is under way");
  if (state.phase === "moved")
    throw new MoveRefused(`this database was moved to ${state.other}, which is served since`);
  const run = randomUUID();
  await takeOver(from, run);
  const tables = await settledRead(from, movedTables);
  await lockingAll(
    from,
    tables,
    [...tables.flatMap((table) => without(table, ["note", "truncate", "refuse"])), "drop schema perch_move cascade"],
    { run, onWait: () => undefined },
  );
}

interface Ends {
  /** A transaction on the source. */
  read<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** One on the target, of this run, whose triggers are silent: what they would do has been done at the source, and is moved. */
  write<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** One on the target that only reads. */
  look<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** One on the target whose triggers work. */
  declare<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  readonly from: Database;
}

const settledRead = <T>(db: Database, work: (tx: Queryable) => Promise<T>): Promise<T> =>
  db.transaction(async (tx) => {
    await tx.script(settled);
    return work(tx);
  });

function createEnds(from: Database, to: Database, run: string): Ends {
  return {
    from,
    read: (work) => settledRead(from, work),
    look: (work) => settledRead(to, work),
    write: (work) =>
      to.transaction(async (tx) => {
        await tx.script(`${settled}; set local session_replication_role = replica`);
        await as(tx, run);
        return work(tx);
      }),
    declare: (work) =>
      to.transaction(async (tx) => {
        await as(tx, run);
        return work(tx);
      }),
  };
}

/** Checks both ends, and has this run take over what is under way. Out: the phase of the source; done when there is nothing left to do. */
async function begin({ from, to, fromName, toName }: MoveOptions, run: string): Promise<"copying" | "moved" | "done"> {
  const source = await moveState(from);
  if (source?.direction === "in") throw new MoveRefused(`${fromName} is being filled from ${source.other} itself`);
  await requireReadySource(from, fromName);
  await prepareSchema(to, toName);
  const [here] = await from.query<{ at: string }>("select perch.server_identity() as at");
  const [there] = await to.query<{ at: string }>("select perch.server_identity() as at");
  if (here?.at === there?.at) throw new MoveRefused("both URLs lead to the same database");
  const target = await moveState(to);
  if (source?.phase === "moved" && target === undefined) {
    const [epochs] = await Promise.all([epochOf(from), epochOf(to)]).then(([one, other]) => [one === other]);
    if (!epochs) throw new MoveRefused(`${fromName} was moved to ${source.other} already`);
    return "done";
  }
  if (target !== undefined && (target.direction !== "in" || target.id !== source?.id))
    throw new MoveRefused(
      `${toName} is in the midst of another move (${target.direction === "in" ? "from" : "to"} ${target.other}); go on with that one, or take an empty database`,
    );
  if (source !== undefined && target === undefined && source.other !== toName)
    throw new MoveRefused(
      `a move from ${fromName} to ${source.other} is under way; go on with that one, or give it up: perch move --abort`,
    );
  await requireReplicaRole(to, toName);
  if (target === undefined) await requireRoom(from, to, toName);

  const id = source?.id ?? randomUUID();
  if (source === undefined) await make(from, makeSource, { id, run, direction: "out", other: toName });
  else await takeOver(from, run);
  if (target === undefined) await make(to, makeTarget, { id, run, direction: "in", other: fromName });
  else await takeOver(to, run);
  if (source?.phase === "moved") return "moved";
  if (source?.phase === "fenced") await liftFence(from, run, await settledRead(from, movedTables));
  const declarations = await declarationsOf(from);
  await to.transaction(async (tx) => {
    await as(tx, run);
    await declareThere(declarations, tx, { whole: false });
  });
  await closeTarget(to, run);
  return "copying";
}

async function make(
  db: Database,
  script: string,
  state: { id: string; run: string; direction: string; other: string },
) {
  await db.transaction(async (tx) => {
    await tx.script(script);
    await tx.query("insert into perch_move.state (id, run, direction, other) values ($1, $2, $3, $4)", [
      state.id,
      state.run,
      state.direction,
      state.other,
    ]);
  });
}

const takeOver = (db: Database, run: string) => db.query("update perch_move.state set run = $1", [run]);

async function liftFence(from: Database, run: string, tables: readonly MovedTable[]): Promise<void> {
  await lockingAll(
    from,
    tables,
    [...tables.flatMap((table) => without(table, ["refuse"])), "update perch_move.state set phase = 'copying'"],
    { run, onWait: () => undefined },
  );
}

const epochOf = async (db: Database) =>
  (await db.query<{ epoch: string }>("select perch.current_epoch() as epoch"))[0]?.epoch;

async function requireReadySource(from: Database, name: string): Promise<void> {
  const status = await migrationStatus(from);
  if (status.applied.length === 0) throw new MoveRefused(`there is no perch in ${name}`);
  if (status.newer || !canServe(status))
    throw new MoveRefused(`${name} is of another version than this perch; run: perch migrate up, or upgrade perch`);
}

async function prepareSchema(to: Database, name: string): Promise<void> {
  const status = await migrationStatus(to);
  if (status.applied.length === 0) await migrate(to);
  else if (status.newer || !canServe(status))
    throw new MoveRefused(`${name} is of another version than this perch; run: perch migrate up, or upgrade perch`);
}

async function requireReplicaRole(to: Database, name: string): Promise<void> {
  const [row] = await to.query<{ may: boolean; login: string }>(
    `select coalesce(has_parameter_privilege('session_replication_role', 'set'), false) as may, session_user::text as login`,
  );
  if (row?.may) return;
  throw new MoveRefused(
    `the login ${row?.login} of ${name} may not silence triggers; as a superuser: grant set on parameter session_replication_role to "${row?.login}"`,
  );
}

/** Throws unless the target is empty, and has what an app's migrations make. */
async function requireRoom(from: Database, to: Database, name: string): Promise<void> {
  const lacking = await lackingThere(from, to);
  if (lacking.length > 0)
    throw new MoveRefused(
      `${name} lacks what your app's own migrations make, without rows: ${lacking.join(", ")}; run them there first`,
    );
  const own = await settledRead(to, movedTables);
  const synced = await settledRead(from, movedTables);
  const apps = synced.filter(({ is_app, relation }) => is_app && !own.some((table) => table.relation === relation));
  const found = await settledRead(to, (tx) => occupied(tx, [...own, ...apps]));
  if (found.length > 0)
    throw new MoveRefused(`${name} is not empty (${found.slice(0, 5).join(", ")}); take an empty database`);
}

/** Nobody else writes to the target while it is filled, and its owner's own policies do not hold up who fills it. */
async function closeTarget(to: Database, run: string): Promise<void> {
  const tables = await settledRead(to, movedTables);
  await to.transaction(async (tx) => {
    await as(tx, run);
    const force = tables.filter(({ is_app }) => !is_app);
    const statements = [
      ...tables.flatMap((table) => [...without(table, ["refuse"]), ...fencing(table)]),
      ...force.map(({ relation }) => `alter table ${relation} no force row level security`),
    ];
    await tx.script(statements.join(";\n"));
  });
}

/** What is moved besides rows, all at once when the rest is there. */
interface BesideRows {
  readonly declarations: Declarations;
  readonly sequences: readonly { readonly name: string; readonly last: string; readonly called: boolean }[];
  readonly epoch: string | undefined;
}

const besideRows = async ({ from }: Ends): Promise<BesideRows> => ({
  declarations: await declarationsOf(from),
  sequences: await movedSequences(from),
  epoch: await epochOf(from),
});

/** In one transaction the target is as if it had always been there. */
async function openTarget(ends: Ends, tables: readonly MovedTable[], content: BesideRows): Promise<void> {
  await ends.declare(async (tx) => {
    await declareThere(content.declarations, tx, { whole: true });
    await enactThere(tx);
    for (const { name, last, called } of content.sequences)
      await tx.query("select setval($1::text::regclass, $2::bigint, $3)", [name, last, called]);
    // The epoch goes on, on this server: whoever has read the log reads on.
    await tx.query("update perch.log_epoch set epoch = $1::uuid, server = perch.server_identity()", [content.epoch]);
    const statements = [
      ...tables.flatMap((table) => without(table, ["refuse"])),
      ...tables
        .filter(({ is_app }) => !is_app)
        .map(({ relation }) => `alter table ${relation} force row level security`),
      "drop schema perch_move cascade",
    ];
    await tx.script(statements.join(";\n"));
  });
}

/** The tables, by the target's order of columns. Throws MoveRefused where the ends do not have the same ones. */
async function sameTables(ends: Ends): Promise<MovedTable[]> {
  const here = await ends.read(movedTables);
  const there = new Map((await ends.look(movedTables)).map((table) => [table.relation, table]));
  const tables: MovedTable[] = [];
  for (const table of here) {
    const other = there.get(table.relation);
    if (other === undefined || shape(other) !== shape(table))
      throw new MoveRefused(`${table.relation} has other columns, or another primary key, at the target`);
    tables.push(other);
    there.delete(table.relation);
  }
  if (there.size > 0)
    throw new MoveRefused(`${[...there.keys()].join(", ")} is synced at the target, and not at the source`);
  return tables;
}

const shape = ({ columns, types, generated, key }: MovedTable) =>
  JSON.stringify([columns.map((column, n) => `${column} ${types[n]}`).sort(), [...generated].sort(), key]);

/** Behind the fence nobody syncs a table any more. */
async function requireNoMoreTables(from: Database, tables: readonly MovedTable[]): Promise<void> {
  const now = (await settledRead(from, movedTables)).map(({ relation }) => relation);
  const known = tables.map(({ relation }) => relation);
  if (now.join() !== known.join())
    throw new Error("tables were synced, or taken out, since the move began; run it again, and it goes on with those");
}

/** What has rows noted of tables that have nobody to do so yet. */
async function missingNotes(from: Database, tables: readonly MovedTable[]): Promise<string[]> {
  const found = await from.query<{ relation: string }>(
    `select format('%I.%I', n.nspname, c.relname) as relation
       from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
      where t.tgname = 'perch_move_note' and t.tgparentid = 0`,
  );
  const noted = new Set(found.map(({ relation }) => relation));
  return tables.filter(({ relation }) => !noted.has(relation)).flatMap(noting);
}

function requireEqual(differing: Keys): void {
  if (differing.size() === 0) return;
  throw new Error(`rows differ at the target: ${differing.sample()}; nothing was switched over`);
}

/** Keys of rows, each once. */
interface Keys {
  add(relation: string, key: Key): void;
  addAll(others: Keys): void;
  /** Out: whether it was there. */
  remove(relation: string, key: Key): boolean;
  of(relation: string): Key[];
  entries(): Iterable<[string, Map<string, Key>]>;
  size(): number;
  /** Some, for people. */
  sample(): string;
}

function createKeys(from?: Keys): Keys {
  const known = new Map<string, Map<string, Key>>();
  const keys: Keys = {
    add(relation, key) {
      const own = known.get(relation) ?? new Map<string, Key>();
      known.set(relation, own.set(nameOf(key), key));
    },
    addAll(others) {
      for (const [relation, own] of others.entries()) for (const key of own.values()) keys.add(relation, key);
    },
    remove: (relation, key) => known.get(relation)?.delete(nameOf(key)) ?? false,
    of: (relation) => [...(known.get(relation)?.values() ?? [])],
    entries: () => known,
    size: () => [...known.values()].reduce((sum, own) => sum + own.size, 0),
    sample: () =>
      [...known]
        .flatMap(([relation, own]) => [...own.keys()].slice(0, 3).map((key) => `${relation} ${key}`))
        .join("; "),
  };
  if (from !== undefined) keys.addAll(from);
  return keys;
}

export type { MoveState };
