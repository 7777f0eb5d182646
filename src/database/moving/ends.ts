import { lacksTable } from "../errors.js";
import { textLiteral } from "../literal.js";
import type { Database, Queryable, Transaction } from "../types.js";
import type { MovedTable } from "./tables.js";

/**
 * What a database that is moved, or moved to, has in a schema of its own, perch_move, for as long as that takes; a database that was left
 * keeps it.
 */
export interface MoveState {
  /** The move, through all its runs. */
  readonly id: string;
  readonly direction: "out" | "in";
  /** The other end, for people. */
  readonly other: string;
  /** copying: it is served; fenced: it takes no writes, as the rest is copied; moved: never again. A target is copied to until its schema goes. */
  readonly phase: "copying" | "fenced" | "moved";
}

/** The move that a database is in, if any: what a serving process asks. Needs the rights of perch_worker. */
export async function moveState(on: Queryable): Promise<MoveState | undefined> {
  const [found] = await on.query<{ there: boolean }>("select to_regclass('perch_move.state') is not null as there");
  if (!found?.there) return undefined;
  try {
    const [state] = await on.query<MoveState>("select id::text, direction, other, phase from perch_move.state");
    return state;
  } catch (error) {
    // It went in between: the move is over.
    if (lacksTable(error)) return undefined;
    throw error;
  }
}

/** How a database stands in the way of a process that would serve it; undefined when it does not. */
export function refusalOf(state: MoveState | undefined): string | undefined {
  if (state?.direction === "in")
    return `perch move is filling this database from ${state.other}; if nobody is at it any more, run it again`;
  if (state?.phase === "moved")
    return `this database was moved to ${state.other}: set DATABASE_URL to that one (an embedded folder can be deleted)`;
  return undefined;
}

/**
 * Whoever writes is refused as by a server that only reads, which everybody who writes to perch knows as something that passes: nothing
 * was done, and it is kept and sent again.
 */
const refuse = `create function perch_move.refuse() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  move perch_move.state;
begin
  select * into move from perch_move.state;
  if current_setting('perch.move', true) = move.run::text then
    return null;
  end if;
  raise exception using errcode = '25006', schema = 'perch_move',
    message = case when move.direction = 'in' then format('perch move is filling this database from %s', move.other)
                   when move.phase = 'moved' then format('this database was moved to %s', move.other)
                   else format('this database is being moved to %s', move.other) end,
    hint = case when move.direction = 'in' then 'Write to the other one until that is done.'
                else 'Nothing was written. Write it there, as soon as it is served; if the move was given up: perch move --abort.' end;
end $$`;

/**
 * Notes the key of each row that is written, in the transaction that writes it. Arguments: the table, and what makes an array of a row's key,
 * as text under the settings by which it is read again, whatever the writer's are (`settled`). It executes its argument with the rights of
 * whoever moves: nobody else may make a trigger of it.
 */
const note = `create function perch_move.note() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres' set bytea_output = 'hex' set extra_float_digits = 1 as $$
declare
  before text[];
  after text[];
begin
  if tg_op = 'TRUNCATE' then
    insert into perch_move.changed (relation) values (tg_argv[0]);
    return null;
  end if;
  if tg_op <> 'INSERT' then
    execute tg_argv[1] into before using old;
  end if;
  if tg_op <> 'DELETE' then
    execute tg_argv[1] into after using new;
  end if;
  insert into perch_move.changed (relation, key)
  select tg_argv[0], k.key from (select before as key union select after) k where k.key is not null;
  return null;
end $$`;

const state = `create schema perch_move;
create table perch_move.state (
  only_row boolean primary key default true check (only_row), id uuid not null, run uuid not null,
  direction text not null, other text not null, phase text not null default 'copying',
  begun_at timestamptz not null default clock_timestamp());
grant usage on schema perch_move to perch_worker;
grant select on perch_move.state to perch_worker;
${refuse};
revoke all on function perch_move.refuse() from public`;

/** What the source has. */
export const makeSource = `${state};
create table perch_move.changed (number bigint generated always as identity primary key, relation text not null, key text[]);
${note};
revoke all on function perch_move.note() from public`;

/** What the target has: how far each table was copied. */
export const makeTarget = `${state};
create table perch_move.progress (relation text primary key, after text[], is_whole boolean not null default false)`;

/** How long a lock on all tables is waited for, each of them, while those who write wait behind it; and how long it is tried. */
const lockMs = 400;
const patienceMs = 5 * 60_000;

/**
 * Runs statements that lock tables against writers, in one transaction: either all of them are in force, or none. Whoever writes holds a
 * lock on the table until commit, so when all locks are there nobody is in the midst of writing. Tries again while somebody is.
 * In: `onWait` is told who, for people.
 */
export async function lockingAll(
  db: Database,
  tables: readonly MovedTable[],
  statements: readonly string[],
  { run, onWait }: { run: string; onWait: (message: string) => void },
): Promise<void> {
  for (const deadline = Date.now() + patienceMs; ; await new Promise((done) => setTimeout(done, 500))) {
    try {
      return await db.transaction(async (tx) => {
        await as(tx, run);
        const lock = `lock table ${tables.map(({ relation }) => relation).join(", ")} in share row exclusive mode`;
        await tx.script([`set local lock_timeout = ${lockMs}`, lock, ...statements].join(";\n"));
      });
    } catch (error) {
      const { code } = error as { code?: unknown };
      if ((code !== "55P03" && code !== "40P01") || Date.now() > deadline) throw error;
      onWait(`waiting for who writes: ${await writers(db)}`);
    }
  }
}

/** Who holds what writers hold, longest first. */
async function writers(db: Database): Promise<string> {
  const found = await db.query<{ who: string }>(
    `select format('process %s (%s, %s) since %s', a.pid, a.usename, a.application_name, date_trunc('second', now() - a.xact_start)) as who
       from pg_stat_activity a
      where a.xact_start is not null and a.pid <> pg_backend_pid() and a.pid in (select l.pid from pg_locks l where l.mode = 'RowExclusiveLock')
      order by a.xact_start limit 3`,
  );
  return found.map(({ who }) => who).join("; ") || "short transactions";
}

/** A transaction of this run: another run ends it. In: on the source the fence lets it through. */
export async function as(tx: Transaction, run: string): Promise<void> {
  const [state] = await tx.query<{ mine: boolean }>(
    "select s.run::text = $1 as mine, set_config('perch.move', $1, true) from perch_move.state s for share",
    [run],
  );
  if (!state?.mine) throw new Error("another perch move has taken over; this one ends");
}

const triggersOf = { note: "perch_move_note", truncate: "perch_move_truncate", refuse: "perch_move_refuse" };

/** Statements that have what is written to a table noted from their commit on. */
export function noting({ relation, key, parts }: MovedTable): string[] {
  const keyOf = `select array[${key.map((column) => `($1).${column}::text`).join(", ")}]`;
  const named = textLiteral(relation);
  return [
    `create trigger ${triggersOf.note} after insert or update or delete on ${relation} for each row execute function perch_move.note(${named}, ${textLiteral(keyOf)})`,
    // Also what replication's appliers write.
    `alter table ${relation} enable always trigger ${triggersOf.note}`,
    ...parts.map(
      (part) =>
        `create trigger ${triggersOf.truncate} after truncate on ${part} for each statement execute function perch_move.note(${named})`,
    ),
  ];
}

/** Statements that have whoever writes to a table refused, but for the run that moves. */
export const fencing = ({ parts }: MovedTable): string[] =>
  parts.flatMap((part) => [
    `create trigger ${triggersOf.refuse} before insert or update or delete or truncate on ${part} for each statement execute function perch_move.refuse()`,
    `alter table ${part} enable always trigger ${triggersOf.refuse}`,
  ]);

/** Statements that end what `names` of these began. */
export const without = ({ parts }: MovedTable, names: readonly (keyof typeof triggersOf)[]): string[] =>
  parts.flatMap((part) => names.map((name) => `drop trigger if exists ${triggersOf[name]} on ${part}`));
