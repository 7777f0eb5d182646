import type { Shares } from "../database/shares.js";
import type { Standbys } from "../database/standbys.js";
import type { Database, Transaction } from "../database/types.js";
import { type Identity, personalSpaceId } from "../identity/identity.js";
import { withContext } from "../identity/index.js";

type Work<T> = (tx: Transaction) => Promise<T>;

/**
 * Transactions for those who ask over HTTP, in their user's turn; `work` does nothing but ask them, so it may begin before the database has
 * taken the user's context. Errors: TurnMissed; as `work`.
 */
export interface OnBehalf {
  /** The same as `read` by a standby, where there is one that knows all that is known: for what writes nothing at all. */
  look<T>(identity: Identity, work: Work<T>): Promise<T>;
  /** Whether `look` may ask a standby. */
  readonly looksElsewhere: boolean;
  read<T>(identity: Identity, work: Work<T>): Promise<T>;
  /**
   * For what takes numbers of spaces (null: the personal one), or locks rows in them. While somebody else holds one of them it is tried
   * again, so `work` may run several times, and only the last has an effect. `since`: when it began to wait, as of `performance.now()`, for
   * whatever it was; now when not given. Errors besides: 55P03 when it is held for too long.
   */
  write<T>(identity: Identity, spaceIds: Iterable<string | null>, work: Work<T>, since?: number): Promise<T>;
}

/** How long a user's turn is waited for. */
export const turnMs = 30_000;

/** In: how long a request waits for what others hold locked. */
export function createOnBehalf({ turn, contention }: Shares, lockWaitMs: number, standbys?: Standbys): OnBehalf {
  const on = <T>(db: Database, identity: Identity, work: Work<T>) =>
    withContext(db, { ...identity, lockTimeoutMs: lockWaitMs }, work, { retry: true, atOnce: true });
  const read: OnBehalf["read"] = (identity, work) =>
    turn(identity.userId, (db) => on(db, identity, work), performance.now() + turnMs);
  return {
    read,
    looksElsewhere: standbys !== undefined,
    look:
      standbys === undefined
        ? read
        : (identity, work) =>
            turn(
              identity.userId,
              (primary) => standbys.read(primary, (db) => on(db, identity, work)),
              performance.now() + turnMs,
            ),
    write: <T>(
      identity: Identity,
      spaceIds: Iterable<string | null>,
      work: Work<T>,
      since: number = performance.now(),
    ) => {
      const { userId } = identity;
      const turnBy = performance.now() + turnMs;
      return contention.run<T, Database>({
        names: [...new Set([...spaceIds].map((spaceId) => spaceId ?? personalSpaceId(userId)))],
        owner: userId,
        until: since + lockWaitMs,
        attempt: (lockTimeoutMs, db) =>
          withContext(db, { ...identity, lockTimeoutMs }, work, { retry: true, atOnce: true }),
        // Until it is known that somebody holds what it needs, it waits for its user's turn as everything does.
        enter: (inside, by = turnBy) => turn(userId, inside, Math.min(by, turnBy)),
      });
    },
  };
}
