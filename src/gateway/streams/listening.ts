import type { Logger } from "pino";
import { z } from "zod";
import type { Database, Subscription } from "../../database/types.js";
import type { RingSource } from "./feed.js";

const ringSchema = z.object({ v: z.literal(1), space_id: z.string(), seq: z.number() });
const retryMs = 1_000;

/** Rings by a LISTEN of one's own, for a gateway beside which no worker listens. It begins when it is first asked for. */
export function listenForRings(db: Database, log: Logger): RingSource {
  return (ring, ready) => {
    let subscription: Subscription | undefined;
    let timer: NodeJS.Timeout | undefined;
    let stopped = false;
    const notify = (_channel: string, payload: string) => {
      const { data } = ringSchema.safeParse(parsed(payload));
      if (data !== undefined) ring(data.space_id, data.seq);
    };
    async function listen(): Promise<void> {
      try {
        subscription = await db.listen(["perch_changes"], { notify, ready });
        if (stopped) await subscription.close();
      } catch (error) {
        if (stopped) return;
        log.warn({ err: error }, "streams: listening failed; it is tried again");
        timer = setTimeout(() => void listen(), retryMs);
      }
    }
    void listen();
    return () => {
      stopped = true;
      clearTimeout(timer);
      subscription?.close().catch((error: unknown) => log.warn({ err: error }, "streams: listening did not end well"));
    };
  };
}

function parsed(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return undefined;
  }
}
