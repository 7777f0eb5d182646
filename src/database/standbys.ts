import { isPassing, meaningOf } from "./errors.js";
import { openPostgres } from "./postgres.js";
import type { Database, Transaction } from "./types.js";

/** Servers that only read, and follow the one that writes. */
export interface Standbys {
  /**
   * Runs what only reads on a standby, or, where none is as far as the primary was when this was called, on the primary. `work` may be run
   * twice: on a standby that goes, or undoes it for the sake of what it replays, and then on the primary. Errors: those of `work`.
   */
  read<T>(primary: Database, work: (db: Database) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface StandbyOptions {
  readonly urls: readonly string[];
  /** The server that writes. */
  readonly db: Database;
  readonly poolSize?: number;
  readonly queryTimeoutMs?: number;
  readonly maxMessageBytes?: number;
  readonly log: { warn(fields: object, message: string): void };
}

/** How long a standby that is behind is waited for: replication takes a millisecond or two. */
const patienceMs = 100;
/** How long a standby may take until it has said how far it is, connecting included. */
const answersWithinMs = 1_000;
/** For how long one is not asked again that was behind, or did not answer. */
const restMs = { behind: 250, away: 5_000 };

/** The standby cannot answer this; the primary can. */
class NotThere extends Error {
  constructor(readonly reason: keyof typeof restMs) {
    super(`the standby is ${reason}`);
    this.name = "NotThere";
  }
}

/** How far the primary was at a moment, and in which epoch of the log. */
interface Horizon {
  readonly lsn: string;
  readonly epoch: string;
}

/**
 * Reads go to standbys, in turn.
 *
 * Why nobody reads an earlier state than one they know of. Whoever was told of a commit, by whatever process, was told after it was in the log of
 * the primary. So for each read the primary is asked, behind its beginning, how far its log is (those that come together share one question), and
 * the standby is read only when it has replayed that much: in the transaction that reads, in a statement before the one that does. A
 * standby that follows a server that is not the primary any more may be further, on another timeline; but there the log has another epoch,
 * since whoever serves the new primary begins one before anybody is answered from it.
 */
export function openStandbys({ urls, db, log, ...options }: StandbyOptions): Standbys {
  const standbys = urls.map((url) => ({
    db: openPostgres({ ...options, url, onError: () => undefined }),
    restsUntil: 0,
    isAway: false,
  }));
  let turn = 0;
  const horizon = shared(async () => {
    const [row] = await db.aside.query<Horizon>(
      "select pg_current_wal_insert_lsn()::text as lsn, perch.current_epoch() as epoch",
    );
    if (row === undefined) throw new NotThere("away");
    return row;
  });

  return {
    async read(primary, work) {
      const awake = standbys.filter(({ restsUntil }) => restsUntil <= Date.now());
      const standby = awake[turn++ % awake.length];
      if (standby === undefined) return work(primary);
      // Where the primary does not say how far it is, it is asked for the rest, too: then it says what is wrong with it.
      const at = await horizon().catch(() => undefined);
      if (at === undefined) return work(primary);
      try {
        const result = await work(gated(standby.db, at));
        standby.isAway = false;
        return result;
      } catch (error) {
        if (!(error instanceof NotThere) && !isPassing(error)) throw error;
        // What somebody asks too much of a standby keeps it from nobody else.
        if (meaningOf(error) === "contended") return work(primary);
        const reason = error instanceof NotThere ? error.reason : "away";
        standby.restsUntil = Date.now() + restMs[reason];
        if (reason === "away" && !standby.isAway) {
          standby.isAway = true;
          log.warn({ err: error }, "a standby does not answer, or is none; the primary is read until it does");
        }
      }
      return work(primary);
    },
    async close() {
      await Promise.all(standbys.map((standby) => standby.db.close()));
    },
  };
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

/** A standby, each transaction of which begins when it has replayed what the primary had. Errors besides: NotThere. */
function gated(db: Database, horizon: Horizon): Database {
  const transaction = <T>(work: (tx: Transaction) => Promise<T>) =>
    inTime((arrived) =>
      db.transaction(async (tx) => {
        await reach(tx, horizon);
        arrived();
        return work(tx);
      }),
    );
  return {
    ...db,
    transaction,
    query: (sql, params, how) => transaction((tx) => tx.query(sql, params, how)),
  };
}

async function reach(tx: Transaction, { lsn, epoch }: Horizon): Promise<void> {
  for (const until = performance.now() + patienceMs; ; await new Promise((done) => setTimeout(done, 3))) {
    const [row] = await tx.query<{ standby: boolean; reached: boolean }>(
      `select pg_is_in_recovery() as standby,
              pg_is_in_recovery() and pg_last_wal_replay_lsn() >= $1::pg_lsn and perch.current_epoch() = $2 as reached`,
      [lsn, epoch],
    );
    if (row?.reached) return;
    if (!row?.standby) throw new NotThere("away");
    if (performance.now() > until) throw new NotThere("behind");
  }
}

/** Ends a wait for a server that does not answer. In: what runs, and says when it has been answered; what has not by then never runs. */
async function inTime<T>(run: (arrived: () => void) => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      isOver = true;
      reject(new NotThere("away"));
    }, answersWithinMs);
  });
  const running = run(() => {
    clearTimeout(timer);
    if (isOver) throw new NotThere("away");
  });
  return Promise.race([running, over]).finally(() => clearTimeout(timer));
}
