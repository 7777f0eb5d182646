import { z } from "zod";

const ringSchema = z.object({ v: z.literal(1), space_id: z.string(), seq: z.number() });

/** What is not about news in a space that is known is looked into no more often than this. */
const lookAroundMs = 1_000;
/** A number that was rung and is not visible yet (a replica lags, say) is looked for again after this, then twice, then… */
const firstRetryMs = 20;

/** The doorbell of one follower: which rings mean that it should pull, and when. */
export interface Bell {
  /** A notification came. */
  rung(payload: string): void;
  /** For whoever has read the notification: so far has the log of a space come. Out: whether that is news, and wakes. */
  heard(spaceId: string, seq: number): boolean;
  /** Something may have been missed: pull at once. */
  wake(): void;
  /** How far a pull that came to the end of the log has read; what was rung beyond that is a gap. */
  reached(positions: ReadonlyMap<string, number>): void;
  /** Resolves when it is time to pull: a ring, a gap, `pollMs`, or the signal. */
  wait(pollMs: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

/**
 * A ring with a number beyond our position in a space that we read is news, and wakes at once. Any other ring may mean that we
 * were let into a space or put out of one (changes of membership ring without a new number), or nothing to us at all: on a
 * server with many spaces most rings are such. They wake too, but all together at most once a second.
 */
export function createBell(): Bell {
  let positions: ReadonlyMap<string, number> = new Map();
  const told = new Map<string, number>();
  let news = true;
  let lastLook = 0;
  let retryMs = firstRetryMs;
  let wakeUp = () => {};
  let timer: NodeJS.Timeout | undefined;

  const wake = () => {
    news = true;
    wakeUp();
  };
  const wakeIn = (ms: number) => {
    timer ??= setTimeout(() => {
      timer = undefined;
      wake();
    }, ms);
  };

  const heard = (spaceId: string, seq: number) => {
    const position = positions.get(spaceId);
    if (position === undefined || seq <= position) return false;
    told.set(spaceId, Math.max(seq, told.get(spaceId) ?? 0));
    wake();
    return true;
  };

  return {
    wake,
    heard,
    rung(payload) {
      const ring = parse(payload);
      if (ring === undefined || !heard(ring.space_id, ring.seq)) {
        wakeIn(Math.max(0, lastLook + lookAroundMs - Date.now()));
      }
    },
    reached(now) {
      positions = now;
      for (const [space, seq] of told) {
        const position = positions.get(space);
        if (position === undefined || position >= seq) told.delete(space);
      }
      if (told.size === 0) retryMs = firstRetryMs;
      else {
        wakeIn(retryMs);
        retryMs = Math.min(retryMs * 2, lookAroundMs);
      }
    },
    async wait(pollMs, signal) {
      let poll: NodeJS.Timeout | undefined;
      if (!news && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wakeUp = resolve;
          signal.addEventListener("abort", wakeUp, { once: true });
          poll = setTimeout(wakeUp, pollMs);
        });
        clearTimeout(poll);
        signal.removeEventListener("abort", wakeUp);
        wakeUp = () => {};
      }
      news = false;
      lastLook = Date.now();
    },
    close: () => clearTimeout(timer),
  };
}

/** Anybody may NOTIFY anything: what does not read as a ring is one about nothing in particular. */
function parse(payload: string): z.infer<typeof ringSchema> | undefined {
  try {
    return ringSchema.safeParse(JSON.parse(payload)).data;
  } catch {
    return undefined;
  }
}
