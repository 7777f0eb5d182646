import { randomUUID } from "node:crypto";
import { migrate } from "../migrate.js";
import { canServe, migrationStatus } from "../migration-status.js";
import type { Database } from "../types.js";
import { declarationsOf, declareThere, lackingThere } from "./declarations.js";
import { as, fencing, lockingAll, makeSource, makeTarget, moveState, without } from "./ends.js";
import { type MovedTable, movedTables, occupied } from "./tables.js";
import { type Ends, settledRead } from "./transactions.js";

/** Why a move cannot begin, or go on, in words that say what to do. */
export class MoveRefused extends Error {
  constructor(message: string) {
    super(message);
    this.name = "MoveRefused";
  }
}

/** The two databases, and their names for people, without passwords. */
export interface MoveEnds {
  readonly from: Database;
  readonly to: Database;
  readonly fromName: string;
  readonly toName: string;
}

/** Checks both ends, and has this run take over what is under way. Out: the phase of the source; done when there is nothing left to do. */
export async function begin(
  { from, to, fromName, toName }: MoveEnds,
  run: string,
): Promise<"copying" | "moved" | "done"> {
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

/** This run goes on with what is under way: whatever an earlier one still sends is refused. */
export const takeOver = (db: Database, run: string) => db.query("update perch_move.state set run = $1", [run]);

/** The source takes writes again. */
export async function liftFence(from: Database, run: string, tables: readonly MovedTable[]): Promise<void> {
  await lockingAll(
    from,
    tables,
    [...tables.flatMap((table) => without(table, ["refuse"])), "update perch_move.state set phase = 'copying'"],
    { run, onWait: () => undefined },
  );
}

export const epochOf = async (db: Database) =>
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

/**
 * The tables as they are written to at the target, but for their partitions, which are the source's: what is noted and fenced there. Throws
 * MoveRefused where the ends do not have the same tables.
 */
export async function sameTables(ends: Ends): Promise<MovedTable[]> {
  const here = await ends.read(movedTables);
  const there = new Map((await ends.look(movedTables)).map((table) => [table.relation, table]));
  const tables: MovedTable[] = [];
  for (const table of here) {
    const other = there.get(table.relation);
    if (other === undefined || shape(other) !== shape(table))
      throw new MoveRefused(`${table.relation} has other columns, or another primary key, at the target`);
    tables.push({ ...other, parts: table.parts });
    there.delete(table.relation);
  }
  if (there.size > 0)
    throw new MoveRefused(`${[...there.keys()].join(", ")} is synced at the target, and not at the source`);
  return tables;
}

const shape = ({ columns, types, generated, key }: MovedTable) =>
  JSON.stringify([columns.map((column, n) => `${column} ${types[n]}`).sort(), [...generated].sort(), key]);
