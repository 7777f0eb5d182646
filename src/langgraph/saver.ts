import {
  BaseCheckpointSaver,
  type ChannelVersions,
  type Checkpoint,
  type CheckpointListOptions,
  type CheckpointMetadata,
  type CheckpointPendingWrite,
  type CheckpointTuple,
  type DeltaChannelHistory,
  getCheckpointId,
  isDeltaSnapshot,
  type PendingWrite,
  type SerializerProtocol,
  WRITES_IDX_MAP,
} from "@langchain/langgraph-checkpoint";
import { argument, checkpointId, isCheckpointId, type TenantCalls, tenantCalls } from "../checkpoints/calls.js";
import type { FencingOptions } from "../checkpoints/store.js";
import { requiredText } from "../database/text.js";
import type { Database } from "../database/types.js";
import { PerchError } from "../errors.js";
import { createKeyedMutex } from "../lib/keyed-mutex.js";
import { metadataText } from "./metadata.js";
import { type ChannelRow, groups, tuple } from "./rows.js";
import { type EncodedValue, encodedValue, loadedValue, noValue, packed, type StoredValue } from "./values.js";

/** LangGraph's configuration of a run, as its savers get it. */
type Config = Parameters<BaseCheckpointSaver["getTuple"]>[0];

export interface PerchSaverOptions {
  db: Database;
  /** Whose threads these are: the same thread id under another tenant is another thread. */
  tenantId: string;
  /** How values are encoded; LangGraph's own way when not given. */
  serde?: SerializerProtocol | undefined;
}

/** Checkpoints of `list` that are read at a time. */
const pageSize = 50;

// What every step of a run calls: statements that are short to parse, and name the tenant on their own.
const putChannels = `select perch.put_channels(tenant_id => $1, thread_id => $2, namespace => $3, id => $4, parent_id => $5, step => $6,
  metadata => $7, checkpoint => $8, channels => $9, types => $10, starts => $11, sizes => $12, payload => $13,
  only_known => $14, delta_channels => $15, fencing_token => $16)`;
const putWrites = `select perch.put_writes(tenant_id => $1, thread_id => $2, namespace => $3, checkpoint_id => $4, task_id => $5, idxs => $6,
  channels => $7, types => $8, starts => $9, sizes => $10, payload => $11, replace => $12, fencing_token => $13)`;
const loadChannels = "select * from perch.load_channels(tenant_id => $1, thread_id => $2, namespace => $3, id => $4)";

/**
 * Keeps the checkpoints of LangGraph graphs in perch's tables, for one tenant:
 *
 *     const graph = builder.compile({ checkpointer: new PerchSaver({ db, tenantId: "acme" }) });
 *     await graph.invoke(input, { configurable: { thread_id: "run-1" } });
 *
 * The database must have been migrated (`perch migrate`). With `configurable.fencing_token` everything is refused (PE409) once
 * another holder has the thread's lease; without it while anybody has one. Errors: PE401 for an empty tenant, PE413, PE422 for ids that
 * cannot be stored.
 */
export class PerchSaver extends BaseCheckpointSaver {
  readonly tenantId: string;
  readonly #db: Database;
  readonly #calls: TenantCalls;
  /** Puts of one thread and namespace come one after another. */
  readonly #puts = createKeyedMutex();

  constructor({ db, tenantId, serde }: PerchSaverOptions) {
    super(serde);
    this.tenantId = tenantId;
    this.#db = db;
    this.#calls = tenantCalls(db, tenantId);
  }

  /** The checkpoint that the configuration names, or else the thread's head: the one committed last. */
  override async getTuple(config: Config): Promise<CheckpointTuple | undefined> {
    const { threadId, namespace, id, fencingToken } = addressOf(config);
    if (threadId === undefined || (id !== undefined && !isCheckpointId(id))) return undefined;
    const rows = await this.#db.query<ChannelRow>(loadChannels, [this.tenantId, threadId, namespace ?? "", id ?? null]);
    return rows.length === 0 ? undefined : tuple(this.serde, rows, this.getNextVersion(undefined), fencingToken);
  }

  /** Checkpoints, the latest first, read page by page as they are asked for. Without a thread: of all threads of the tenant. */
  override async *list(config: Config, options: CheckpointListOptions = {}): AsyncGenerator<CheckpointTuple> {
    const { threadId, namespace, id, fencingToken } = addressOf(config);
    const before = options.before && getCheckpointId(options.before);
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    let last: ChannelRow | undefined;
    while (left > 0) {
      const wanted = Math.min(left, pageSize);
      const rows: ChannelRow[] = await this.#calls.rows<ChannelRow>("list_channels", {
        thread_id: threadId ?? null,
        namespace,
        id: checkpointId(id, "checkpoint_id"),
        // Written as the metadata were that it is compared with.
        filter: options.filter && (await metadataText(this.serde, options.filter as CheckpointMetadata)),
        before: checkpointId(before || undefined, "before"),
        after_id: last?.checkpoint_id,
        after_thread_id: last?.found_thread_id,
        after_namespace: last?.found_namespace,
        max_count: wanted,
      });
      const page = groups(rows);
      for (const found of page) yield tuple(this.serde, found, this.getNextVersion(undefined), fencingToken);
      if (page.length < wanted) return;
      left -= page.length;
      last = page.at(-1)?.[0];
    }
  }

  /**
   * Keeps a checkpoint, which becomes the head of its thread and namespace. Of its channels only those in `newVersions` are sent.
   * LangGraph does not always wait for a put before the next: in a thread they are stored in the order of the calls.
   */
  override async put(
    config: Config,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    newVersions: ChannelVersions,
  ): Promise<Config> {
    const at = addressOf(config);
    const { threadId, namespace = "", fencingToken } = at;
    if (threadId === undefined) throw missing("thread_id");
    const key = JSON.stringify([threadId, namespace]);
    await this.#puts.run(key, () => this.#put({ ...at, threadId, namespace }, checkpoint, metadata, newVersions));
    return {
      configurable: {
        thread_id: threadId,
        checkpoint_ns: namespace,
        checkpoint_id: checkpoint.id,
        // Who goes on from it does so under the same lease.
        ...(fencingToken === undefined ? {} : { fencing_token: fencingToken }),
      },
    };
  }

  async #put(
    { threadId, namespace, id: parentId, fencingToken }: Address & { threadId: string; namespace: string },
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    newVersions: ChannelVersions,
  ): Promise<void> {
    const { channel_values: values, ...rest } = checkpoint;
    const channel_versions = { ...rest.channel_versions, ...newVersions };
    // A copy of a checkpoint is put beside it without saying so: what it shares with it is found by comparison.
    const isCopy = Object.keys(newVersions).length === 0;
    const channels = Object.keys(isCopy ? values : newVersions);
    const encoded = await Promise.all(channels.map((channel) => this.#encoded(values, channel)));
    const { types, starts, sizes, payload } = packed(encoded);
    await this.#db.query(putChannels, [
      this.tenantId,
      threadId,
      namespace,
      checkpointId(checkpoint.id, "checkpoint.id"),
      checkpointId(parentId, "checkpoint_id") ?? null,
      argument("metadata.step", metadata.step ?? null),
      await metadataText(this.serde, metadata),
      JSON.stringify({ ...rest, channel_versions }),
      channels,
      types,
      starts,
      sizes,
      payload,
      isCopy,
      deltaChannels(values, metadata),
      fencingToken ?? null,
    ]);
  }

  /** Keeps what a task wrote on top of a checkpoint, which may be put later. */
  override async putWrites(config: Config, writes: PendingWrite[], taskId: string): Promise<void> {
    const { threadId, namespace = "", id, fencingToken } = addressOf(config);
    if (threadId === undefined) throw missing("thread_id");
    if (id === undefined) throw missing("checkpoint_id");
    const encoded = await Promise.all(writes.map(([, value]) => encodedValue(this.serde, value)));
    const { types, starts, sizes, payload } = packed(encoded);
    await this.#db.query(putWrites, [
      this.tenantId,
      threadId,
      namespace,
      checkpointId(id, "checkpoint_id"),
      requiredText(taskId, "task_id"),
      writes.map(([channel], nth) => WRITES_IDX_MAP[channel] ?? nth),
      writes.map(([channel]) => channel),
      types,
      starts,
      sizes,
      payload,
      // Errors, interrupts and the like: the last one counts. Anything else a task wrote once stays.
      writes.every(([channel]) => channel in WRITES_IDX_MAP),
      fencingToken ?? null,
    ]);
  }

  /** Deletes a thread with all its namespaces. PE409 when somebody has a lease on it, unless `fencingToken` is that of the last one. */
  override async deleteThread(threadId: string, { fencingToken }: FencingOptions = {}): Promise<void> {
    await this.#calls.value("delete_thread", { thread_id: threadId, fencing_token: fencingToken });
  }

  /** What makes up incremental channels: the writes above a checkpoint, up to the last value. One call, however far up. */
  override async getDeltaChannelHistory({
    config,
    channels,
  }: {
    config: Config;
    channels: string[];
  }): Promise<Record<string, DeltaChannelHistory>> {
    const { threadId, namespace, id } = addressOf(config);
    const history: Record<string, DeltaChannelHistory> = Object.fromEntries(
      channels.map((name) => [name, { writes: [] }]),
    );
    if (channels.length === 0 || threadId === undefined || (id !== undefined && !isCheckpointId(id))) return history;
    const rows = await this.#calls.rows<HistoryRow>("channel_history", {
      thread_id: threadId,
      namespace: namespace ?? "",
      id: id ?? null,
      channels,
    });
    const values = await Promise.all(rows.map((row) => loadedValue(this.serde, row)));
    // They come from the checkpoint upwards; LangGraph wants the oldest first.
    for (let nth = rows.length - 1; nth >= 0; nth -= 1) {
      const { kind, task_id, channel } = rows[nth] as HistoryRow;
      const found = history[channel];
      if (kind === "seed" && found) found.seed = values[nth];
      else found?.writes.push([task_id, channel, values[nth]] satisfies CheckpointPendingWrite);
    }
    return history;
  }

  #encoded(values: Readonly<Record<string, unknown>>, channel: string): Promise<EncodedValue> {
    return Object.hasOwn(values, channel) ? encodedValue(this.serde, values[channel]) : Promise.resolve(noValue);
  }
}

interface HistoryRow extends StoredValue {
  kind: "write" | "seed";
  task_id: string;
  channel: string;
}

interface Address {
  threadId: string | undefined;
  namespace: string | undefined;
  /** The checkpoint meant, when it is not the head. */
  id: string | undefined;
  fencingToken: number | undefined;
}

function addressOf(config: Config): Address {
  const { thread_id, checkpoint_ns, fencing_token } = config.configurable ?? {};
  return {
    threadId: named("thread_id", Number.isSafeInteger(thread_id) ? String(thread_id) : thread_id),
    namespace: named("checkpoint_ns", checkpoint_ns),
    id: named("checkpoint_id", getCheckpointId(config)) || undefined,
    fencingToken: argument("fencing_token", fencing_token ?? undefined),
  };
}

/** LangGraph lets apps write anything there; what is no text would become one that others get, too. */
const named = (name: string, id: unknown): string | undefined =>
  id === undefined || id === null ? undefined : requiredText(id, `configurable.${name}`);

const missing = (field: string) =>
  new PerchError("PE422", `the configuration has no configurable.${field}`, { argument: field });

/** Channels of which a checkpoint of this thread may hold only what was written since an ancestor: pruning must know them. */
function deltaChannels(values: Readonly<Record<string, unknown>>, metadata: CheckpointMetadata): string[] {
  const names = new Set(Object.keys(metadata.counters_since_delta_snapshot ?? {}));
  for (const [name, value] of Object.entries(values)) if (isDeltaSnapshot(value)) names.add(name);
  return [...names];
}
