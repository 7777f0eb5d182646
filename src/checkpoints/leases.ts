import type { Database, Queryable } from "../database/types.js";
import { PerchError } from "../errors.js";
import { milliseconds, type TenantCalls, tenantCalls, tenantCallsIn } from "./calls.js";

/** The right to be the only one who changes a thread, for a time. */
export interface Lease {
  readonly threadId: string;
  readonly holder: string;
  /**
   * Pass it to everything that changes the thread: that fails once somebody else has the lease, and without it while this one is held.
   * Greater than that of every lease before.
   */
  readonly token: number;
  /** By the database's clock. */
  readonly expiresAt: Date;
}

export interface LeaseOptions {
  /** Names who works; each process at a time by a name of its own. The same holder again gets a new token, its old one ends. */
  holder: string;
  /** How long without renewal, up to a day; 30 s when not given. */
  durationMs?: number | undefined;
}

/** Leases on a tenant's threads: rows with a time, which no connection holds and no dead holder keeps. */
export interface ThreadLeases {
  /** Out: the lease; undefined while somebody else has one that has not expired. The thread need not have a checkpoint. */
  acquire(threadId: string, options: LeaseOptions): Promise<Lease | undefined>;
  /** Prolongs a lease from now, also an expired one that nobody took since. Errors: PE409 when it is no longer this one. */
  renew(lease: Lease, durationMs?: number): Promise<Lease>;
  /** Ends a lease before its time. Out: whether it was still there. */
  release(lease: Lease): Promise<boolean>;
  /**
   * Works under a lease that is renewed until the work ends, and then released. `signal` aborts when the lease is lost.
   * Out: what `work` returned. Errors: PE409 when somebody else has the lease, or took it meanwhile; what `work` throws.
   */
  hold<T>(threadId: string, options: LeaseOptions, work: (lease: Lease, signal: AbortSignal) => Promise<T>): Promise<T>;
  /** The same within a transaction of the caller; PE403 for one of another tenant. */
  in(tx: Queryable): Omit<ThreadLeases, "hold" | "in">;
}

const defaultDurationMs = 30_000;

/** The leases on a tenant's threads. Every method is a transaction of its own, except on what `in(tx)` returns. */
export function threadLeases(options: { db: Database; tenantId: string }): ThreadLeases {
  const leases = leasesWith(tenantCalls(options.db, options.tenantId));
  return {
    ...leases,
    async hold(threadId, leaseOptions, work) {
      const askedAt = performance.now();
      const lease = await leases.acquire(threadId, leaseOptions);
      if (lease === undefined) {
        throw new PerchError("PE409", "somebody else has the lease on this thread", { thread_id: threadId });
      }
      const keeper = keep(lease, askedAt, leaseOptions.durationMs ?? defaultDurationMs, leases.renew);
      try {
        const result = await work(lease, keeper.signal);
        keeper.signal.throwIfAborted();
        return result;
      } finally {
        await keeper.stop();
        // When it cannot be released it expires.
        if (!keeper.signal.aborted) await leases.release(lease).catch(() => false);
      }
    },
    in: (tx) => leasesWith(tenantCallsIn(tx, options.tenantId)),
  };
}

function leasesWith(calls: TenantCalls): Omit<ThreadLeases, "hold" | "in"> {
  return {
    async acquire(threadId, { holder, durationMs }) {
      const args = { thread_id: threadId, holder, duration: milliseconds(durationMs, "durationMs") };
      const [row] = await calls.rows<{ token: number; expires_at: Date }>("acquire_lease", args);
      return row && { threadId, holder, token: row.token, expiresAt: row.expires_at };
    },
    async renew(lease, durationMs) {
      const args = { thread_id: lease.threadId, token: lease.token, duration: milliseconds(durationMs, "durationMs") };
      return { ...lease, expiresAt: await calls.value<Date>("renew_lease", args) };
    },
    release: (lease) => calls.value("release_lease", { thread_id: lease.threadId, token: lease.token }),
  };
}

/**
 * Renews a lease three times as often as it would expire. It is lost by PE409, and by a clock of its own when its time is over since it was last
 * asked for with success: others may have it from then on, whether renewals fail or have no answer.
 */
function keep(lease: Lease, askedAt: number, durationMs: number, renew: ThreadLeases["renew"]) {
  const lost = new AbortController();
  const isLost = new Promise<void>((done) => lost.signal.addEventListener("abort", () => done()));
  let renewing: Promise<void> = Promise.resolve();
  let failure: unknown = new PerchError("PE409", "the lease was not renewed in time", { thread_id: lease.threadId });
  const expireAfter = (since: number) =>
    setTimeout(() => lost.abort(failure), Math.max(0, since + durationMs - performance.now()));
  let expiry = expireAfter(askedAt);
  const once = async () => {
    const startedAt = performance.now();
    try {
      await renew(lease, durationMs);
      clearTimeout(expiry);
      if (!lost.signal.aborted) expiry = expireAfter(startedAt);
    } catch (error) {
      failure = error;
      if (error instanceof PerchError && error.code === "PE409") lost.abort(error);
    }
  };
  const timer = setInterval(() => {
    renewing = renewing.then(() => (lost.signal.aborted ? undefined : once()));
  }, durationMs / 3);
  return {
    signal: lost.signal,
    async stop() {
      clearInterval(timer);
      await Promise.race([renewing, isLost]);
      clearTimeout(expiry);
    },
  };
}
