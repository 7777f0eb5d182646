import { randomUUID } from "node:crypto";
import type { Database, Transaction } from "../types.js";
import { begin, liftFence, type MoveEnds, MoveRefused, sameTables, takeOver } from "./begin.js";
import { as, fencing, lockingAll, moveState, noting, without } from "./ends.js";
import { createKeys, type Keys } from "./keys.js";
import { besideRows, openTarget } from "./open-target.js";
import { countsOf, digestsBehind, digestsOf, type Key, nameOf, pageOf, parted, put, putAll, rowsOf } from "./rows.js";
import { type MovedTable, movedTables } from "./tables.js";
import { createEnds, settledRead } from "./transactions.js";

export interface MoveOptions extends MoveEnds {
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
  /** What could not be written yet, behind the comparison of all rows, which finds whatever was left out before. */
  const leftOut = createKeys();

  function noteLeftOut({ relation }: MovedTable, keys: readonly Key[], now: readonly Key[]): void {
    for (const key of keys) leftOut.remove(relation, key);
    for (const key of now) leftOut.add(relation, key);
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
      const parts: Key[][] = await ends.read((tx) => pageOf(tx, table, last));
      for (const keys of parts) {
        // What was written since the keys were read is noted.
        const rows = await ends.read((tx) => rowsOf(tx, table, keys));
        after = keys.at(-1) ?? after;
        await ends.write(async (tx) => {
          noteLeftOut(table, keys, await put(tx, table, keys, rows));
          await tx.query("update perch_move.progress set after = $2 where relation = $1", [table.relation, after]);
        });
        total += rows.length;
        onProgress(`${table.relation}: ${total} rows copied in all`);
      }
      if (parts.length > 0) continue;
      await ends.write((tx) =>
        tx.query("update perch_move.progress set is_whole = true where relation = $1", [table.relation]),
      );
      return;
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
          await ends.write(async (tx) => noteLeftOut(table, keys, await put(tx, table, keys, rows)));
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
      noteLeftOut(table, leftOut.of(table.relation), []);
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
      const parts = await ends.read((tx) => parted(tx, table, keys));
      const rowsHere = (some: readonly Key[]) => ends.read((tx) => rowsOf(tx, table, some));
      if (fenced) {
        await ends.write(async (tx) => {
          await putAll(tx, table, parts, rowsHere);
          noteLeftOut(table, keys, []);
        });
        continue;
      }
      for (const some of parts) {
        const rows = await rowsHere(some);
        await ends.write(async (tx) => noteLeftOut(table, some, await put(tx, table, some, rows)));
      }
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
    // All rows of all tables, while nobody writes: they are gone through as they lie.
    const counted = async (tx: Transaction) => {
      await tx.script("set local enable_seqscan = on");
      return countsOf(tx, tables);
    };
    const [here, there] = await Promise.all([ends.read(counted), ends.look(counted)]);
    const wrong = [...here].filter(([relation, count]) => there.get(relation) !== count);
    if (wrong.length === 0) return here;
    const told = wrong.map(([relation, count]) => `${relation} has ${count} rows, and ${there.get(relation)} there`);
    throw new Error(
      `the ends are not the same: ${told.join("; ")}; nobody else may write to the target: let perch move run again`,
    );
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
    await openTarget(ends, content);
    return found;
  }
}

/** Gives a move up: the source is as it was. Throws MoveRefused when there is none, or when it is done. */
export async function abortMove(from: Database): Promise<void> {
  if ((await moveState(from))?.direction !== "out") throw new MoveRefused("no move from this database is under way");
  const run = randomUUID();
  await takeOver(from, run);
  // Asked behind it, when no other run can come to its end any more: both databases would take writes.
  const state = await moveState(from);
  if (state?.phase === "moved")
    throw new MoveRefused(`this database was moved to ${state.other}, which is served since`);
  const tables = await settledRead(from, movedTables);
  await lockingAll(
    from,
    tables,
    [...tables.flatMap((table) => without(table, ["note", "truncate", "refuse"])), "drop schema perch_move cascade"],
    { run, onWait: () => undefined },
  );
}

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
  throw new Error(
    `rows differ at the target: ${differing.sample()}; nothing was switched over, so run it again, and let nobody else write to the target`,
  );
}
