import type { Database, Queryable } from "./types.js";

/** How far the primary was, and what it showed. */
export interface Moment {
  readonly lsn: string;
  readonly epoch: string;
  /** Of its snapshot: the transaction behind the last that had ended, and those before it that had not. */
  readonly xmax: bigint;
  readonly open: readonly bigint[];
}

const momentSql = `
  select pg_current_wal_insert_lsn()::text as lsn, perch.current_epoch() as epoch, pg_snapshot_xmax(s)::text as xmax,
         array(select x::text from pg_snapshot_xip(s) x) as open
    from (select pg_current_snapshot() offset 0) q (s)`;

/*
 * What was committed without waiting for the disk, and what notifies and does nothing else, is in the log of the primary and not flushed yet, and
 * standbys are sent only what is. A commit that waits flushes all that is before it; without one it happens after wal_writer_delay, 200 ms.
 * So there is one, of nothing; it waits for no standby.
 */
const flushSql = `
  select set_config('synchronous_commit', 'local', true), pg_logical_emit_message(true, 'perch', '')
   where pg_current_wal_flush_lsn() < (select max(l) from unnest($1::text[]::pg_lsn[]) l)`;

/** The server that writes, as those see it who read from others. */
export interface WatchedPrimary {
  /** How it is at some time between now and the answer. Errors: of the connection. */
  now(): Promise<Moment>;
  /** Sends to its standbys what it has in its log up to here, soon. */
  hurry(lsn: string): void;
}

/** In: the database; it is asked aside, each question once for all who ask at once. */
export function watchPrimary({ aside }: Database): WatchedPrimary {
  let wanted: string[] = [];
  const flush = shared(() => {
    const lsns = wanted;
    wanted = [];
    return aside.query(flushSql, [lsns]);
  });
  return {
    now: shared(async () => {
      const [row] = await aside.query<{ lsn: string; epoch: string; xmax: string; open: string[] }>(momentSql);
      if (row === undefined) throw new Error("the primary did not say how far it is");
      return { ...row, xmax: BigInt(row.xmax), open: row.open.map(BigInt) };
    }),
    hurry(lsn) {
      wanted.push(lsn);
      // Whoever waits for it sees what became of it.
      flush().catch(() => undefined);
    },
  };
}

/** How far a standby is. */
export interface HowFar {
  readonly isStandby: boolean;
  /** It has all that the primary had. */
  readonly isReached: boolean;
  readonly lagBytes: number;
}

export async function howFar(on: Queryable, { lsn, epoch }: Moment): Promise<HowFar> {
  const [row] = await on.query<{ standby: boolean; reached: boolean; lag: number | null }>(
    `select r.standby, r.standby and r.lsn >= $1::pg_lsn and perch.current_epoch() = $2 as reached,
            greatest(0, pg_wal_lsn_diff($1::pg_lsn, r.lsn))::float8 as lag
       from (select pg_is_in_recovery(), pg_last_wal_replay_lsn()) r (standby, lsn)`,
    [lsn, epoch],
  );
  return { isStandby: row?.standby ?? false, isReached: row?.reached ?? false, lagBytes: row?.lag ?? 0 };
}

/** The transaction behind the last that has ended on a standby, and which of some that the primary had not ended are committed here. */
export async function ended(on: Queryable, open: readonly bigint[]): Promise<{ xmax: bigint; committed: bigint[] }> {
  const [row] = await on.query<{ xmax: string; committed: string[] }>(
    `select m.xmax::text as xmax, array(
              select x.txid::text from unnest($1::text[]::xid8[]) x (txid)
               where case when x.txid < m.xmax then pg_xact_status(x.txid) = 'committed' end) as committed
       from (select pg_snapshot_xmax(pg_current_snapshot()) offset 0) m (xmax)`,
    [open.map(String)],
  );
  if (row === undefined) throw new Error("the standby did not say how far it is");
  return { xmax: BigInt(row.xmax), committed: row.committed.map(BigInt) };
}

/** Asks a question for all who want its answer at once. Whoever comes while one is under way is answered by the next: this one began too early. */
function shared<T>(ask: () => Promise<T>): () => Promise<T> {
  let underWay: Promise<unknown> = Promise.resolve();
  let next: Promise<T> | undefined;
  return () => {
    next ??= underWay.then(() => {
      next = undefined;
      const asked = ask();
      underWay = asked.then(
        () => undefined,
        () => undefined,
      );
      return asked;
    });
    return next;
  };
}
