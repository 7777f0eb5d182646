import type { Account, Reservation } from "../lib/ledger.js";
import { tooMuchHeld } from "./problems.js";

/** Room in the share of whoever asks, for an answer that may be long. One request has it once, however often it looks. */
export interface AnswerRoom {
  /** Waits until there is room for so many bytes; where it has some, for nothing. Errors: RequestRefused where the asker goes meanwhile. */
  take(bytes: number): Promise<void>;
  /** Gives it back: at the end, and while it waits for something to answer. */
  rest(): void;
}

/** In: whose share it is; aborted when nobody waits for the answer any more. */
export function createAnswerRoom(account: Account, gone: AbortSignal): AnswerRoom {
  let room: Reservation | undefined;
  return {
    async take(bytes) {
      room ??= await account.reserve(bytes, gone);
      if (room === undefined) throw tooMuchHeld();
    },
    rest() {
      room?.release();
      room = undefined;
    },
  };
}
