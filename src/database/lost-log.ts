import type { PGlite } from "@electric-sql/pglite";

/** As Emscripten counts errors. */
const noSpace = 51;

/** What to say of a log that cannot be written, by what the file system said: a full disk, or one that fails. */
function logLost(cause: unknown): Error {
  const { errno, code } = (cause ?? {}) as { errno?: unknown; code?: unknown };
  const isFull = errno === noSpace || code === "ENOSPC";
  const message = `the embedded database cannot write its log: ${isFull ? "the disk is full" : "the disk fails"}. Nothing that was acknowledged is lost`;
  return Object.assign(
    new Error(`${message}; ${isFull ? "make room" : "mend it"}, and start this process again`, { cause }),
    {
      code: isFull ? "53100" : "58030",
    },
  );
}

/**
 * A server of Postgres whose log cannot be written ends, and recovers when it starts again. The embedded one goes on in the midst of it, and
 * whatever is asked next has it wait for itself for ever, and the process with it. So nothing is asked any more: everything fails with what went wrong.
 */
export interface LostLog {
  /** For the file system: what it said. */
  lose(cause: unknown): void;
  /** What went wrong; undefined as long as nothing did. */
  error(): Error | undefined;
  /** Has everything that is asked of this database fail from then on. */
  guard(client: PGlite): void;
}

/** onLost: told once. */
export function createLostLog(onLost: (error: Error) => void): LostLog {
  let lost: Error | undefined;
  return {
    lose(cause) {
      if (lost !== undefined) return;
      lost = logLost(cause);
      onLost(lost);
    },
    error: () => lost,
    guard(client) {
      const ask = client.execProtocolRawSync.bind(client);
      client.execProtocolRawSync = (message) => {
        if (lost !== undefined) throw lost;
        return ask(message);
      };
    },
  };
}
