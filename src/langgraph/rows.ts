import {
  type ChannelVersions,
  type Checkpoint,
  type CheckpointPendingWrite,
  type CheckpointTuple,
  maxChannelVersion,
  type SerializerProtocol,
  TASKS,
} from "@langchain/langgraph-checkpoint";
import { loadedMetadata } from "./metadata.js";
import { hasValue, loadedValue, type StoredValue } from "./values.js";

/** A row of `perch.load_channels` and `perch.list_channels`: a checkpoint, or one of the values and writes that follow it. */
export interface ChannelRow extends StoredValue {
  kind: "checkpoint" | "value" | "write" | "send";
  found_thread_id: string;
  found_namespace: string;
  checkpoint_id: string;
  parent_id: string | null;
  metadata: unknown;
  task_id: string;
  channel: string;
  version: string;
}

/** Each checkpoint with the rows that belong to it. */
export function groups(rows: readonly ChannelRow[]): ChannelRow[][] {
  const found: ChannelRow[][] = [];
  for (const row of rows) {
    if (row.kind === "checkpoint") found.push([row]);
    else found.at(-1)?.push(row);
  }
  return found;
}

type Rest = Omit<Checkpoint, "channel_values">;

/**
 * In: the rows of one checkpoint, and the token of the lease under which the caller works: who goes on from this checkpoint does, too.
 * Out: what LangGraph makes of them.
 */
export async function tuple(
  serde: SerializerProtocol,
  rows: readonly ChannelRow[],
  firstVersion: number,
  fencing_token: number | undefined,
): Promise<CheckpointTuple> {
  const [own] = rows as [ChannelRow];
  const { channel_versions, ...rest } = JSON.parse(own.json_text as string) as Rest;
  const values = rows.filter(({ kind }) => kind === "value");
  const checkpoint: Checkpoint = {
    ...rest,
    id: own.checkpoint_id,
    channel_versions: { ...channel_versions, ...versions(values) },
    versions_seen: rest.versions_seen ?? {},
    channel_values: await loadedValues(serde, values),
  };
  const [sends, pendingWrites, metadata] = await Promise.all([
    writes(serde, rows, "send"),
    writes(serde, rows, "write"),
    loadedMetadata(serde, own.metadata),
  ]);
  if (checkpoint.v < 4 && own.parent_id !== null) addSends(checkpoint, sends, firstVersion);
  const at = (checkpoint_id: string) => ({
    configurable: {
      thread_id: own.found_thread_id,
      checkpoint_ns: own.found_namespace,
      checkpoint_id,
      ...(fencing_token === undefined ? {} : { fencing_token }),
    },
  });
  return {
    config: at(own.checkpoint_id),
    checkpoint,
    metadata,
    pendingWrites,
    ...(own.parent_id === null ? {} : { parentConfig: at(own.parent_id) }),
  };
}

function versions(values: readonly ChannelRow[]): ChannelVersions {
  return Object.fromEntries(values.map(({ channel, version }) => [channel, JSON.parse(version) as string | number]));
}

async function loadedValues(
  serde: SerializerProtocol,
  values: readonly ChannelRow[],
): Promise<Record<string, unknown>> {
  const load = async (row: ChannelRow) => [row.channel, await loadedValue(serde, row)] as const;
  return Object.fromEntries(await Promise.all(values.filter(hasValue).map(load)));
}

function writes(
  serde: SerializerProtocol,
  rows: readonly ChannelRow[],
  kind: "write" | "send",
): Promise<CheckpointPendingWrite[]> {
  const load = async (row: ChannelRow): Promise<CheckpointPendingWrite> => [
    row.task_id,
    row.channel,
    await loadedValue(serde, row),
  ];
  return Promise.all(rows.filter((row) => row.kind === kind).map(load));
}

/** Before version 4 of the format, what was sent to a step lay with the writes of the step before instead of in a channel. */
function addSends(checkpoint: Checkpoint, sends: readonly CheckpointPendingWrite[], firstVersion: number): void {
  checkpoint.channel_values[TASKS] = sends.map(([, , value]) => value);
  const known = Object.values(checkpoint.channel_versions);
  checkpoint.channel_versions[TASKS] = known.length > 0 ? maxChannelVersion(...known) : firstVersion;
}
