import type { ZodType } from "zod";
import type { Database, Queryable } from "../database/types.js";
import { PerchError } from "../errors.js";
import { checkpointId, isCheckpointId, milliseconds, type TenantCalls, tenantCalls, tenantCallsIn } from "./calls.js";
import { jsonText } from "./json.js";
import { type StateVersions, stateVersions } from "./state-versions.js";

/** A saved state of a thread. */
export interface Checkpoint<State> {
  readonly id: string;
  readonly threadId: string;
  /** Null: a root. May name one that was pruned. */
  readonly parentId: string | null;
  readonly step: number;
  readonly state: State;
  readonly nextNode: string | null;
  /** The version it was written in; the state is of the newest all the same. */
  readonly schemaVersion: number;
  readonly metadata: Record<string, unknown>;
  readonly createdAt: Date;
}

export interface CheckpointStoreOptions<State> {
  db: Database;
  /** Whose threads these are. */
  tenantId: string;
  /** What a state looks like: a zod schema, which is version 1, or the versions it has had (`stateVersions`). */
  schema: ZodType<State> | StateVersions<State>;
}

/** Of every call that changes a thread. */
export interface FencingOptions {
  /**
   * The token of the caller's lease: the call fails with PE409 unless it is that of the thread's last lease. Without one it fails while
   * anybody has a lease on the thread.
   */
  fencingToken?: number | undefined;
}

export interface CheckpointWriteOptions extends FencingOptions {
  metadata?: Record<string, unknown> | undefined;
  /** The put fails with PE409 unless this is the head; null: unless the thread is empty. */
  expectedHead?: string | null | undefined;
}

export interface PutOptions<State> extends CheckpointWriteOptions {
  state: State;
  step: number;
  /** The checkpoint this one follows. None: a root. */
  parentId?: string | null | undefined;
  nextNode?: string | null | undefined;
  /** An id of one's own (a UUID), with which the same put can be repeated when its answer was lost. */
  id?: string | undefined;
}

export interface HistoryOptions {
  /** Only checkpoints that were committed before this one. */
  before?: string | undefined;
  /** At most so many (1 or more); all when not given. */
  limit?: number | undefined;
  /** Read so many at a time; 100 when not given. */
  pageSize?: number | undefined;
}

export interface ForkOptions extends FencingOptions {
  /** The other, empty thread that begins with the copy (a token is of its lease then). Not given: a branch of the same thread. */
  intoThread?: string | undefined;
  /** Instead of the original's. */
  metadata?: Record<string, unknown> | undefined;
}

export interface PruneOptions extends FencingOptions {
  /** Only this thread; when not given every thread of the tenant on which nobody has a lease. A token goes with a thread only. */
  threadId?: string | undefined;
  /** Keep the last so many of each thread (1 or more). */
  keepLast?: number | undefined;
  /** Keep what is younger. */
  keepForMs?: number | undefined;
}

interface CheckpointRow {
  id: string;
  thread_id: string;
  parent_id: string | null;
  step: number;
  state: unknown;
  next_node: string | null;
  schema_version: number | null;
  metadata: Record<string, unknown>;
  created_at: Date;
}

/** Stands for "no checkpoint" where SQL expects a head. */
const nobody = "00000000-0000-0000-0000-000000000000";

/**
 * The checkpoints of a tenant's threads, with states of one type. Every method is a transaction of its own; `in(tx)` gives the same
 * methods inside a transaction of the caller, so that a checkpoint commits together with what else was written there.
 *
 * Errors of every method: PE401 for an empty tenant, PE422 for ids and states that cannot be stored, and for stored states that
 * cannot be read (see `StateVersions`).
 */
export class CheckpointStore<State> {
  readonly tenantId: string;
  readonly #versions: StateVersions<State>;
  readonly #calls: TenantCalls;

  constructor({ db, tenantId, schema }: CheckpointStoreOptions<State>, calls: TenantCalls = tenantCalls(db, tenantId)) {
    this.tenantId = tenantId;
    this.#versions = "minVersion" in schema ? schema : stateVersions(schema);
    this.#calls = calls;
  }

  /**
   * The same store within a transaction that the caller began and will end. One that names no tenant yet (`withContext`,
   * `perch.set_tenant`) gets the store's; PE403 for one of another tenant.
   */
  in(tx: Queryable): CheckpointStore<State> {
    const { tenantId } = this;
    const options = { db: tx as Database, tenantId, schema: this.#versions };
    return new CheckpointStore(options, tenantCallsIn(tx, tenantId));
  }

  /**
   * Appends a checkpoint, which becomes the thread's head. Out: its id.
   * Errors: PE404 when the parent is no checkpoint of this thread; PE409 when the head is not the expected one, the lease is lost,
   * or the id is that of another checkpoint; PE413.
   */
  async put(threadId: string, options: PutOptions<State>): Promise<string> {
    return this.#calls.value("put_checkpoint", {
      thread_id: threadId,
      state: this.#write(options.state),
      step: options.step,
      parent_id: checkpointId(options.parentId, "parentId"),
      next_node: options.nextNode ?? undefined,
      schema_version: this.#versions.version,
      id: checkpointId(options.id, "id"),
      ...writeArguments(options),
    });
  }

  /** The head: the checkpoint that was committed last, on whatever branch. Undefined when there is no such thread. */
  async latest(threadId: string): Promise<Checkpoint<State> | undefined> {
    const [row] = await this.#calls.rows<CheckpointRow>("latest_checkpoint", { thread_id: threadId });
    return row && this.#read(row);
  }

  /** A checkpoint of this thread by its id; undefined when the thread has none with it. */
  async get(threadId: string, id: string): Promise<Checkpoint<State> | undefined> {
    if (!isCheckpointId(id)) return undefined;
    const [row] = await this.#calls.rows<CheckpointRow>("get_checkpoint", { thread_id: threadId, id });
    return row && this.#read(row);
  }

  /**
   * The checkpoints of a thread, on all its branches, the one committed last first; read page by page as they are asked for.
   * Those that are put meanwhile are left out. Errors: PE404 when `before` is no checkpoint of this thread.
   */
  async *history(threadId: string, options: HistoryOptions = {}): AsyncGenerator<Checkpoint<State>, void, undefined> {
    const { limit, pageSize = 100 } = options;
    if (limit !== undefined && !(Number.isInteger(limit) && limit > 0)) {
      throw new PerchError("PE422", "limit is not a number from 1 on", { argument: "limit", got: limit });
    }
    let before = checkpointId(options.before, "before");
    let left = limit ?? Number.POSITIVE_INFINITY;
    for (let page = 0; left > 0; page += 1) {
      const wanted = Math.min(left, pageSize);
      const rows = await this.#page(threadId, wanted, before, page > 0);
      for (const row of rows) yield this.#read(row);
      if (rows.length < wanted) return;
      left -= rows.length;
      before = rows.at(-1)?.id;
    }
  }

  async #page(threadId: string, count: number, before: string | undefined, isLater: boolean): Promise<CheckpointRow[]> {
    try {
      return await this.#calls.rows("checkpoint_history", { thread_id: threadId, max_count: count, before });
    } catch (error) {
      // The last one of the page before has been pruned since, and those before it likewise.
      if (isLater && error instanceof PerchError && error.code === "PE404") return [];
      throw error;
    }
  }

  /**
   * Makes a copy of a checkpoint the head, as its child: the thread goes on from there, on a branch of its own. Or begins another
   * thread with it. Out: the id of the copy. Errors: PE404 when there is no such checkpoint; PE409 when the other thread is not empty, or
   * for a lease.
   */
  async fork(threadId: string, id: string, options: ForkOptions = {}): Promise<string> {
    return this.#calls.value("fork_checkpoint", {
      thread_id: threadId,
      id: checkpointId(id, "id"),
      into_thread: options.intoThread,
      metadata: options.metadata && jsonText(options.metadata, "metadata"),
      fencing_token: options.fencingToken,
    });
  }

  /**
   * Appends a child of a checkpoint with another state, the next step and the same next node; it becomes the head.
   * In: the new state, or how it follows from the old one. Out: its id. Errors as `put`; PE404 when there is no such checkpoint.
   */
  async updateState(
    threadId: string,
    parentId: string,
    change: State | ((state: State) => State | Promise<State>),
    options: CheckpointWriteOptions = {},
  ): Promise<string> {
    const state = typeof change === "function" ? await this.#changed(threadId, parentId, change as never) : change;
    return this.#calls.value("update_checkpoint_state", {
      thread_id: threadId,
      parent_id: checkpointId(parentId, "parentId"),
      state: this.#write(state),
      schema_version: this.#versions.version,
      ...writeArguments(options),
    });
  }

  async #changed(threadId: string, id: string, change: (state: State) => State | Promise<State>): Promise<State> {
    const parent = await this.get(threadId, id);
    if (parent === undefined) {
      throw new PerchError("PE404", "the parent is no checkpoint of this thread", {
        thread_id: threadId,
        parent_id: id,
      });
    }
    return change(parent.state);
  }

  /**
   * Deletes a thread: its checkpoints, its log and its lease. Out: how many checkpoints there were. Errors: PE409 when somebody has a
   * lease on it, or the token is not that of the last one.
   */
  async deleteThread(threadId: string, { fencingToken }: FencingOptions = {}): Promise<number> {
    return this.#calls.value("delete_thread", { thread_id: threadId, fencing_token: fencingToken });
  }

  /**
   * Forgets older checkpoints: all but the last `keepLast` of each thread, those younger than `keepForMs`, the head, and what these
   * need. Out: how many. Errors: PE409 for the lease of a thread that is named; PE422 when neither is given.
   */
  async prune(options: PruneOptions): Promise<number> {
    let pruned = 0;
    for (;;) {
      // Of all threads some at a time: those are locked until the call's transaction has ended.
      const some: number = await this.#calls.value("prune_checkpoints", {
        thread_id: options.threadId ?? null,
        keep_last: options.keepLast,
        keep_for: milliseconds(options.keepForMs, "keepForMs"),
        fencing_token: options.fencingToken,
      });
      pruned += some;
      if (some === 0 || options.threadId !== undefined) return pruned;
    }
  }

  #write(state: State): string {
    return jsonText(this.#versions.write(state), "state");
  }

  #read(row: CheckpointRow): Checkpoint<State> {
    const { state, schema_version, ...rest } = row;
    return {
      id: rest.id,
      threadId: rest.thread_id,
      parentId: rest.parent_id,
      step: rest.step,
      state: this.#versions.read(state, schema_version),
      nextNode: rest.next_node,
      schemaVersion: schema_version as number,
      metadata: rest.metadata,
      createdAt: rest.created_at,
    };
  }
}

function writeArguments({ metadata, expectedHead, fencingToken }: CheckpointWriteOptions) {
  return {
    metadata: metadata && jsonText(metadata, "metadata"),
    expected_head: expectedHead === null ? nobody : checkpointId(expectedHead, "expectedHead"),
    fencing_token: fencingToken,
  };
}
