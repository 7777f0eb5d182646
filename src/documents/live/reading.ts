import { isLost } from "../loro/lost.js";
import type { ExclusiveAccess } from "./exclusive-access.js";
import type { Exported } from "./export-cache.js";
import type { Intake } from "./intake.js";
import type { OpenDocument } from "./open-document.js";
import type { Position } from "./queries.js";
import type { LiveDocument } from "./types.js";

export interface ReadingParts {
  readonly access: ExclusiveAccess;
  readonly intake: Pick<Intake, "appending" | "asked">;
  exclusive: LiveDocument["exclusive"];
  /** Somebody has joined, and may soon need the replica, which is not there. */
  joinedCold(): void;
}

/** What became of a promise, to be looked at later. */
function outcome<T>(promise: Promise<T>): Promise<{ value?: T; error?: unknown }> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
}

/** What is read of an open document: by whoever joins it, and by questions to its replica. */
export function createReading(open: OpenDocument, { access, intake, exclusive, joinedCold }: ReadingParts) {
  const { subscribers, notifications } = open;

  /**
   * A question to the replica, at the present position. Exclusive use ends when it is asked: calls of one document are answered in order, so
   * nothing that is imported from then on is in the answer. Where the replica turns out to be lost, it lasts until the answer.
   */
  async function ask<T extends object>(
    call: () => Promise<T>,
    asked: () => void = () => undefined,
  ): Promise<T & Position> {
    const { at, answer } = await exclusive(async () => {
      await access.withReplica(() => Promise.resolve());
      asked();
      return { at: open.at, answer: outcome(call()) };
    });
    const { value, error } = await answer;
    if (value) return { ...value, ...at };
    if (!isLost(error)) throw error;
    return exclusive(async () => {
      asked();
      return { ...(await access.withReplica(call)), ...open.at };
    });
  }

  const join: LiveDocument["join"] = async (version, listener, onEnded) => {
    // An empty version vector is one zero byte.
    const theirs = version.byteLength === 0 ? Uint8Array.of(0) : version;
    const subscribed = (exported: Exported) => {
      const leave = subscribers.add(listener, onEnded);
      if (open.state.replica === "absent") joinedCold();
      return { ...exported, seq: open.at.seq, leave };
    };
    const isAlone = open.state.door === "open" && intake.appending === 0 && !notifications.unread(open.at.seq);
    const atHand = isAlone ? access.atHand(theirs) : undefined;
    if (atHand) return subscribed(atHand);
    await intake.asked();
    return exclusive(async () => {
      if (notifications.unread(open.at.seq)) await access.bringUpToDate();
      return subscribed(await access.exportFrom(theirs));
    });
  };

  return { join, ask };
}
