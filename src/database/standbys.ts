import { isCancelled, isPassing, meaningOf } from "./errors.js";
import { ended, howFar, type Moment, type WatchedPrimary, watchPrimary } from "./moments.js";
import { openPostgres } from "./postgres.js";
import { readPostgresUrl } from "./postgres-url.js";
import type { Database, Transaction } from "./types.js";

/** Servers that only read, and follow the one that writes. */
export interface Standbys {
  /**
   * Runs what only reads on a standby, or, where none is as far as the primary was when this was called, on the primary. `work` may be run
   * twice: on a standby that goes, or undoes it for the sake of what it replays, and then on the primary. Errors: those of `work`.
   */
  read<T>(primary: Database, work: (db: Database) => Promise<T>): Promise<T>;
  /** Who has answered. */
  stats(): StandbyStats;
  /** How far each is behind now, in bytes of the primary's log; those are left out that do not say. */
  lags(): Promise<Readonly<Record<string, number>>>;
  close(): Promise<void>;
}

export interface StandbyStats {
  /** Answered by a standby. */
  readonly standby: number;
  /** Answered by the primary, and why. */
  readonly primary: Readonly<Record<Reason, number>>;
}

/**
 * Why a standby did not answer. behind: it lacks something. ahead: it shows what the primary does not yet. away: it does not answer, or is none.
 * undone: it undid what was asked for the sake of what it replays.
 */
export type Reason = "behind" | "ahead" | "away" | "undone";

export interface StandbyOptions {
  readonly urls: readonly string[];
  /** The server that writes. */
  readonly db: Database;
  readonly poolSize?: number;
  readonly queryTimeoutMs?: number;
  readonly maxMessageBytes?: number;
  readonly log: { warn(fields: object, message: string): void };
}

/** How long one that is behind, or ahead, is waited for: replication takes a millisecond or two. */
const patienceMs = 100;
const lookEveryMs = 3;
/** How long a standby may take until it has said how far it is, connecting included. */
const answersWithinMs = 1_000;
/** For how long one is not asked again that could not answer. */
const restMs = { behind: 250, ahead: 250, away: 5_000 };

/** The standby cannot answer this; the primary can. */
class NotThere extends Error {
  constructor(readonly reason: keyof typeof restMs) {
    super(`the standby is ${reason}`);
    this.name = "NotThere";
  }
}

/**
 * Reads go to standbys, in turn.
 *
 * Why nobody reads an earlier state than one they know of. Whoever was told of a commit, by whatever process, was told after it was in the log of
 * the primary. So for each read the primary is asked, behind its beginning, how far its log is (those that come together share one question), and
 * the standby is read only when it has replayed that much: in the transaction that reads, in a statement before the one that does. A
 * standby that follows a server that is not the primary any more may be further, on another timeline; but there the log has another epoch,
 * since whoever serves the new primary begins one before anybody is answered from it.
 *
 * Nor does anybody who reads from the primary next. A standby shows a commit when it has replayed it; the primary shows it a little later, and where it
 * waits for another standby perhaps much later. So what was read is given only when the primary shows all that the standby showed: of all
 * transactions before the last that had ended there after the reading, those that the primary has not ended yet must not be committed there.
 */
export function openStandbys({ urls, db, log, ...options }: StandbyOptions): Standbys {
  const standbys = urls.map((url) => ({
    name: readPostgresUrl(url)
      .hosts.map(({ name }) => name)
      .join(","),
    db: openPostgres({ ...options, url, onError: () => undefined }),
    restsUntil: 0,
    restsFor: "away" as Reason,
    isAway: false,
  }));
  const answers = { standby: 0, primary: { behind: 0, ahead: 0, away: 0, undone: 0 } };
  const watched = watchPrimary(db);
  let turn = 0;

  /** Why the standby does not answer, and that it is not asked for a while. */
  function missed(standby: (typeof standbys)[number], error: unknown): Reason {
    // What somebody asks too much of a standby keeps it from nobody else.
    if (meaningOf(error) === "contended") return "undone";
    const reason = error instanceof NotThere ? error.reason : "away";
    standby.restsUntil = Date.now() + restMs[reason];
    standby.restsFor = reason;
    if (reason === "away" && !standby.isAway) {
      standby.isAway = true;
      log.warn({ err: error }, "a standby does not answer, or is none; the primary is read until it does");
    }
    return reason;
  }

  return {
    async read<T>(primary: Database, work: (db: Database) => Promise<T>) {
      const awake = standbys.filter(({ restsUntil }) => restsUntil <= Date.now());
      const standby = awake[turn++ % awake.length];
      let reason = standbys[0]?.restsFor ?? "away";
      if (standby !== undefined) {
        // Where the primary does not say how far it is, it is asked for the rest, too: then it says what is wrong with it.
        const at = await watched.now().catch(() => undefined);
        if (at === undefined) return work(primary);
        let answer: (() => T) | undefined;
        try {
          answer = await answerOf(standby.db, at, watched, work);
        } catch (error) {
          reason = missed(standby, error);
        }
        if (answer !== undefined) {
          standby.isAway = false;
          answers.standby += 1;
          return answer();
        }
      }
      answers.primary[reason] += 1;
      return work(primary);
    },
    stats: () => answers,
    async lags() {
      const at = await watched.now();
      const lags = await Promise.allSettled(
        standbys.map(async ({ name, db }) => [name, (await howFar(db.aside, at)).lagBytes] as const),
      );
      return Object.fromEntries(lags.flatMap((one) => (one.status === "fulfilled" ? [one.value] : [])));
    },
    async close() {
      await Promise.all(standbys.map((standby) => standby.db.close()));
    },
  };
}

/**
 * What a standby answers, or refuses (that, too, tells what it shows), when the primary shows as much. Errors: NotThere, and what the standby, or
 * the way to it, is to blame for.
 */
async function answerOf<T>(
  standby: Database,
  at: Moment,
  watched: WatchedPrimary,
  work: (db: Database) => Promise<T>,
): Promise<() => T> {
  const answer = await work(gated(standby, at, watched)).then(
    (value) => () => value,
    (error: unknown) => {
      // What takes too long there is not tried once more here.
      if (error instanceof NotThere || (isPassing(error) && !isCancelled(error))) throw error;
      return (): T => {
        throw error;
      };
    },
  );
  await shownBy(watched, at, standby);
  return answer;
}

/** Waits until the primary shows all that the standby shows by now. In: how the primary was some time ago. Errors: NotThere. */
async function shownBy(watched: WatchedPrimary, before: Moment, standby: Database): Promise<void> {
  let shown = before;
  let upto: bigint | undefined;
  for (const until = performance.now() + patienceMs; ; await pause()) {
    const { xmax, committed } = await inTime((arrived) => ended(standby, shown.open).finally(arrived));
    // What ends later was not read.
    const last = upto ?? xmax;
    upto = last;
    if (last <= shown.xmax && !committed.some((txid) => txid < last)) return;
    if (performance.now() > until) throw new NotThere("ahead");
    shown = await watched.now().catch(() => {
      throw new NotThere("ahead");
    });
  }
}

const pause = () => new Promise<void>((done) => setTimeout(done, lookEveryMs));

/** A standby, each transaction of which begins when it has replayed what the primary had. Errors besides: NotThere. */
function gated(db: Database, at: Moment, watched: WatchedPrimary): Database {
  const transaction = <T>(work: (tx: Transaction) => Promise<T>) =>
    inTime((arrived) =>
      db.transaction(async (tx) => {
        await reach(tx, at, watched);
        arrived();
        return work(tx);
      }),
    );
  return {
    ...db,
    transaction,
    query: (sql, params, how) => transaction((tx) => tx.last(sql, params, how)),
  };
}

async function reach(tx: Transaction, at: Moment, watched: WatchedPrimary): Promise<void> {
  const until = performance.now() + patienceMs;
  for (let looks = 1; ; looks += 1) {
    const { isStandby, isReached } = await howFar(tx, at);
    if (isReached) return;
    if (!isStandby) throw new NotThere("away");
    if (performance.now() > until) throw new NotThere("behind");
    // What waits for nothing but its way here is here by the second look.
    if (looks === 2) watched.hurry(at.lsn);
    await pause();
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
