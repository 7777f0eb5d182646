import { randomUUID } from "node:crypto";
import type { BaseCheckpointSaver, Checkpoint, CheckpointMetadata } from "@langchain/langgraph-checkpoint";
import { uuid6 } from "@langchain/langgraph-checkpoint";
import { PostgresSaver } from "@langchain/langgraph-checkpoint-postgres";
import pg from "pg";
import { openDatabase } from "../../../src/database/open.js";
import type { Database } from "../../../src/database/types.js";
import { PerchSaver } from "../../../src/langgraph/index.js";
import { seededRandom } from "../../../test/support/traces.js";

/** Both savers on one database, each with as many connections as it has threads to serve. */
export interface Savers {
  readonly db: Database;
  readonly ours: PerchSaver;
  readonly theirs: PostgresSaver;
  close(): Promise<void>;
}

export const tenantId = "bench";

export async function openSavers(url: string, connections: number): Promise<Savers> {
  const db = await openDatabase({ url, poolSize: connections });
  const theirs = new PostgresSaver(new pg.Pool({ connectionString: url, max: connections }));
  await theirs.setup();
  return {
    db,
    ours: new PerchSaver({ db, tenantId }),
    theirs,
    async close() {
      await theirs.end();
      await db.close();
    },
  };
}

const words =
  "the a of perch graph agent asks tool answer river seven under water never light stone moves over again".split(" ");

/** Text such as people and models write: it compresses, but not away. */
export function prose(bytes: number, random: () => number): string {
  let text = "";
  while (text.length < bytes) text += `${words[Math.floor(random() * words.length)]}${Math.floor(random() * 1000)} `;
  return text.slice(0, bytes);
}

/** A thread that goes on step by step, as LangGraph drives a saver: what the tasks wrote, then the checkpoint after them. */
export interface Run {
  /** `changes`: the channels that this step changes; `written`: what its task wrote to them, where that is not the whole value. */
  step(changes: Record<string, unknown>, written?: Record<string, unknown>): Promise<void>;
  readonly threadId: string;
}

export function startRun(saver: BaseCheckpointSaver, threadId: string = randomUUID()): Run {
  let config: { configurable: Record<string, unknown> } = { configurable: { thread_id: threadId, checkpoint_ns: "" } };
  let values: Record<string, unknown> = {};
  let versions: Record<string, number> = {};
  let step = -1;
  return {
    threadId,
    async step(changes, written = changes) {
      if (step >= 0) await saver.putWrites(config as never, Object.entries(written), randomUUID());
      const newVersions = Object.fromEntries(
        Object.keys(changes).map((channel) => [channel, (versions[channel] ?? 0) + 1]),
      );
      values = { ...values, ...changes };
      versions = { ...versions, ...newVersions };
      const checkpoint: Checkpoint = {
        v: 4,
        id: uuid6(step),
        ts: new Date().toISOString(),
        channel_values: values,
        channel_versions: versions,
        versions_seen: { __input__: {}, agent: { "branch:to:agent": step + 2 } },
      };
      const metadata: CheckpointMetadata = { source: step < 0 ? "input" : "loop", step, parents: {} };
      config = (await saver.put(config as never, checkpoint, metadata, newVersions)) as typeof config;
      step += 1;
    },
  };
}

export const newRandom = (): (() => number) => seededRandom(11);
