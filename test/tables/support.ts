import type { Queryable } from "../../src/database/types.js";
import { type Cursor, type Entry, pull, type Snapshot } from "../log/support.js";

/** Sequences until nothing is left to do. Out: how many changes were moved on. */
export async function sequence(db: Queryable): Promise<number> {
  for (let all = 0; ; ) {
    const [row] = await db.query<{ moved: number }>("select perch.sequence_changes() as moved");
    if (row === undefined || row.moved === 0) return all;
    all += row.moved;
  }
}

export const syncTable = (db: Queryable, relation: string, options: string) =>
  db.query(`select perch.sync_table(relation => '${relation}', app_id => 'shop', ${options})`);

/** Takes the log back to a position, as a backup that is restored does: the next one is given out again. */
export async function goBackTo(db: Queryable, position: bigint): Promise<void> {
  await db.query("delete from perch.sync_changes where position > $1", [position]);
  await db.query("select setval('perch.change_position', greatest($1, 1), $1 > 0)", [position]);
  await db.query("select perch.new_epoch()");
}

/** What the log of one space has, in its order, as short lines: "insert tasks/1 {…}". */
export async function logOf(db: Queryable, space: string): Promise<string[]> {
  const rows = await db.query<{ line: string }>(
    `select concat_ws(' ', op, table_name || '/' || record_id, data::text) as line from perch.sync_changes
      where space_id = $1 order by seq`,
    [space],
  );
  return rows.map(({ line }) => line);
}

/** What a follower holds: the rows of its spaces. */
export class Follower {
  readonly rows = new Map<string, Record<string, unknown>>();
  cursor: Cursor = {};

  apply({ space_id, op, table, id, data }: Pick<Entry, "space_id" | "op" | "table" | "id" | "data">): void {
    // A row that moves is deleted in one space and inserted in another, and either may be pulled first.
    const key = `${space_id}:${table}/${id}`;
    if (op === "delete") this.rows.delete(key);
    else if (op === "insert") this.rows.set(key, { ...data });
    else this.rows.set(key, { ...this.rows.get(key), ...data });
  }

  /** One page. Out: whether there are more. */
  async step(tx: Queryable, pageSize: number): Promise<boolean> {
    const page = await pull(tx, { appId: "shop", cursor: this.cursor, pageSize });
    for (const entry of page.changes) this.apply(entry);
    this.cursor = page.cursor;
    return page.has_more;
  }

  async toTheEnd(tx: Queryable, pageSize = 1000): Promise<this> {
    while (await this.step(tx, pageSize));
    return this;
  }

  /** Begins with a snapshot of a space. */
  async join(tx: Queryable, space: string, pageSize = 1000): Promise<this> {
    for (let after: string | null = null; ; ) {
      const [row]: { page: Snapshot }[] = await tx.query<{ page: Snapshot }>(
        "select perch.snapshot_records(app_id => 'shop', space_id => $1, after => $2, page_size => $3) as page",
        [space, after, pageSize],
      );
      if (row === undefined) throw new Error("no snapshot");
      for (const { table, id, data } of row.page.records)
        this.apply({ space_id: space, op: "insert", table, id, data });
      this.cursor = row.page.cursor;
      after = row.page.next;
      if (after === null) return this;
    }
  }
}

/** The rows of a table that are in a space now, as a follower has them. */
export async function tableNow(db: Queryable, relation: string, id: string, where: string) {
  const rows = await db.query<{ key: string; data: Record<string, unknown> }>(
    `select '${relation}/' || ${id} as key, to_jsonb(t) as data from ${relation} t where ${where}`,
  );
  return Object.fromEntries(rows.map(({ key, data }) => [key, data]).sort());
}

/** By "table/id", in whichever space. */
export const held = (follower: Follower) =>
  Object.fromEntries([...follower.rows].map(([key, row]) => [key.slice(key.indexOf(":") + 1), row] as const).sort());
