import type { PerchClient } from "../../src/client/index.js";

export const appId = "shop";
export const spaceId = "team";

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** The ids that have come in order, from the log of the space, by a stream. */
export async function readUntil(client: PerchClient, table: string, done: (ids: Set<string>) => boolean, ms: number) {
  const ids = new Set<string>();
  const ending = AbortSignal.timeout(ms);
  let last = 0;
  for await (const event of client.follow({ appId, tables: [table], signal: ending })) {
    for (const { id, seq, space_id } of event.type === "changes" ? event.changes : []) {
      if (space_id !== spaceId) continue;
      assert(seq > last, `number ${seq} came behind ${last}`);
      last = seq;
      ids.add(id);
    }
    if (done(ids)) break;
  }
  return ids;
}
