import type { Account, Reservation } from "../lib/ledger.js";
import { tooMuchHeld } from "./problems.js";

/** Room in the share of whoever asks, for an answer that may be long. One request has it once, however often it looks. */
export interface AnswerRoom {
  /** Waits until there is room for so many bytes; where it has some, for nothing. Errors: RequestRefused where the asker goes meanwhile. */
  take(bytes: number): Promise<void>;
  /** Gives it back: at the end, and while it waits for something to answer. */
  rest(): void;
}

/** For how long a request waited for something to happen, which says nothing of how fast it is answered. */
export interface Waited {
  ms: number;
}

/** In: whose share it is; aborted when nobody waits for the answer any more; what is told how long it rested. */
export function createAnswerRoom(account: Account, gone: AbortSignal, waited?: Waited): AnswerRoom {
  let room: Reservation | undefined;
  let restsSince: number | undefined;
  const goOn = (now: number) => {
    if (waited && restsSince !== undefined) waited.ms += now - restsSince;
  };
  return {
    async take(bytes) {
      goOn(performance.now());
      restsSince = undefined;
      room ??= await account.reserve(bytes, gone);
      if (room === undefined) throw tooMuchHeld();
    },
    rest() {
      const now = performance.now();
      goOn(now);
      restsSince = now;
      room?.release();
      room = undefined;
    },
  };
}
