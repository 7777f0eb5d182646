import type { Identity } from "../identity/identity.js";
import type { AckStatus } from "../protocol/protocol.js";
import type { RoomReader } from "./room.js";

/** What one batch of a client brought. */
export interface Submission<Entry> {
  readonly entries: readonly Entry[];
  readonly author: Identity;
  readonly origin: RoomReader;
  readonly at: number;
  /** How many of the entries have been taken. */
  taken: number;
  /** Why the first of them was refused, if one was. */
  refusal: string | undefined;
  resolve(status: AckStatus): void;
}

/** What of a submission goes in one transaction. */
export interface Part<Entry> {
  readonly submission: Submission<Entry>;
  readonly entries: readonly Entry[];
  readonly isLast: boolean;
}

/** Of one transaction: each entry may cost a look at as many others. */
const bounds = { items: 256, bytes: 2 ** 20 };

/**
 * What waits to be appended to a room: a line for each author, who take turns. So whoever has one entry waits for one transaction of others at most,
 * however much these have sent; and what one author sent keeps its order. In: what an entry measures.
 */
export function createLogLines<Entry>(sizeOf: (entry: Entry) => number) {
  /** The author who had a turn longest ago comes first. */
  const lines = new Map<string, Submission<Entry>[]>();

  /** Of the first in a line what there is room for. */
  function takeFirst(
    line: readonly Submission<Entry>[],
    room: { items: number; bytes: number },
  ): Part<Entry> | undefined {
    const [submission] = line;
    if (submission === undefined) return undefined;
    const from = submission.taken;
    while (submission.taken < submission.entries.length && room.items > 0 && room.bytes > 0) {
      room.items -= 1;
      room.bytes -= sizeOf(submission.entries[submission.taken] as Entry);
      submission.taken += 1;
    }
    const entries = submission.entries.slice(from, submission.taken);
    return { submission, entries, isLast: submission.taken === submission.entries.length };
  }

  function drop(submission: Submission<Entry>): void {
    const { userId } = submission.author;
    const left = (lines.get(userId) ?? []).filter((other) => other !== submission);
    if (left.length > 0) lines.set(userId, left);
    else lines.delete(userId);
  }

  return {
    get waiting(): boolean {
      return lines.size > 0;
    },
    add(submission: Submission<Entry>): void {
      const { userId } = submission.author;
      const line = lines.get(userId);
      if (line) line.push(submission);
      else lines.set(userId, [submission]);
    },
    /** What goes in the next transaction: of each author one submission in turn, as long as there is room. */
    take(): Part<Entry>[] {
      const room = { ...bounds };
      const parts: Part<Entry>[] = [];
      for (let [next] = lines; next !== undefined && room.items > 0 && room.bytes > 0; [next] = lines) {
        const [userId, line] = next;
        const part = takeFirst(line, room);
        lines.delete(userId);
        if (part !== undefined) parts.push(part);
        if (part?.isLast) line.shift();
        if (line.length > 0) lines.set(userId, line);
      }
      return parts;
    },
    /** Of a submission that is not to go on. */
    drop,
    /** Out: what waited. */
    clear(): Submission<Entry>[] {
      const all = [...lines.values()].flat();
      lines.clear();
      return all;
    },
  };
}
