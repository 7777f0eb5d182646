import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type { Database } from "../../../src/database/types.js";
import type { Work } from "../race.js";
import { newRandom, prose, type Savers, startRun } from "./savers.js";

/** The latest checkpoint of one thread after another, each with all its values and writes. */
export function latest(saver: BaseCheckpointSaver, threadIds: readonly string[]): Work {
  let next = 0;
  return async (deadline) => {
    let done = 0;
    for (; performance.now() < deadline; done++) {
      next = (next + 7919) % threadIds.length;
      const thread_id = threadIds[next];
      const found = await saver.getTuple({ configurable: { thread_id } });
      if (found === undefined || Object.keys(found.checkpoint.channel_values).length === 0)
        throw new Error(`${thread_id} is empty`);
    }
    return done;
  };
}

/** One thread of so many checkpoints in both, of a state of 10 kB, of which each step changes 1 kB. */
export async function longThread({ ours, theirs }: Savers, checkpoints: number): Promise<string> {
  const random = newRandom();
  const runs = [startRun(ours, "long"), startRun(theirs, "long")];
  for (let count = 0; count < checkpoints; count++) {
    const changes: Record<string, unknown> =
      count === 0
        ? Object.fromEntries(Array.from({ length: 10 }, (_, field) => [`field_${field}`, prose(1000, random)]))
        : { [`field_${count % 10}`]: prose(1000, random) };
    for (const run of runs) await run.step(changes);
  }
  return "long";
}

/**
 * Copies a thread of a hundred steps that both savers have written until there are so many checkpoints, with SQL: the same rows
 * that the savers would have written, under other ids.
 */
export async function manyThreads({ db, ours, theirs }: Savers, checkpoints: number): Promise<string[]> {
  const perThread = 100;
  const random = newRandom();
  const runs = [startRun(ours, "pattern"), startRun(theirs, "pattern")];
  for (let count = 0; count < perThread; count++) {
    const changes: Record<string, unknown> =
      count === 0
        ? Object.fromEntries(Array.from({ length: 4 }, (_, field) => [`field_${field}`, prose(250, random)]))
        : { [`field_${count % 4}`]: prose(250, random) };
    for (const run of runs) await run.step(changes);
  }
  const copies = checkpoints / perThread - 1;
  for (const statement of copyStatements) await db.query(statement, [copies]);
  await analyze(db);
  return Array.from({ length: copies }, (_, nth) => `copy-${nth + 1}`);
}

const analyze = async (db: Database) => {
  await db.query("vacuum analyze");
};

const copies = "cross join generate_series(1, $1::int) g";
const ofPattern = "where x.thread_no = (select thread_no from perch.threads where thread_id = 'pattern')";
const copyStatements = [
  `insert into perch.threads (tenant_id, thread_id, namespace, thread_no, format, head_id, newest_id, last_seq, last_value_no)
   select x.tenant_id, 'copy-' || g, x.namespace, g, x.format, x.head_id, x.newest_id, x.last_seq, x.last_value_no
     from perch.threads x ${copies} where x.thread_id = 'pattern'`,
  `insert into perch.stored_checkpoints (tenant_id, thread_no, id, parent_id, seq, step, created_at, schema_version, next_node, metadata, value_nos, channels)
   select x.tenant_id, g, x.id, x.parent_id, x.seq, x.step, x.created_at, x.schema_version, x.next_node, x.metadata, x.value_nos, x.channels
     from perch.stored_checkpoints x ${copies} ${ofPattern}`,
  `insert into perch.checkpoint_values (tenant_id, thread_no, no, key, version, type, json_text, pieces, bytes)
   select x.tenant_id, g, x.no, x.key, x.version, x.type, x.json_text, x.pieces, x.bytes
     from perch.checkpoint_values x ${copies} ${ofPattern}`,
  `insert into perch.checkpoint_writes (tenant_id, thread_no, checkpoint_id, task_id, idx, channel, type, json_text, bytes)
   select x.tenant_id, g, x.checkpoint_id, x.task_id, x.idx, x.channel, x.type, x.json_text, x.bytes
     from perch.checkpoint_writes x ${copies} ${ofPattern}`,
  `insert into public.checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
   select 'copy-' || g, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
     from public.checkpoints ${copies} where thread_id = 'pattern'`,
  `insert into public.checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
   select 'copy-' || g, checkpoint_ns, channel, version, type, blob from public.checkpoint_blobs ${copies} where thread_id = 'pattern'`,
  `insert into public.checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob)
   select 'copy-' || g, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob
     from public.checkpoint_writes ${copies} where thread_id = 'pattern'`,
];
