import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { moveState, refusalOf } from "../database/moving/ends.js";
import type { Database } from "../database/types.js";

const everyMs = 500;

/** Waits while perch move fills a database, so that a process may be started before that is done. Throws where the database was moved away. */
export async function requireNotMoved(db: Database, onWait: (message: string) => void): Promise<void> {
  for (let waited = false; ; waited = true) {
    const state = await moveState(db);
    const refusal = refusalOf(state);
    if (refusal === undefined) return;
    if (state?.direction !== "in") throw new Error(refusal);
    if (!waited) onWait(refusal);
    await sleep(everyMs / 2);
  }
}

export interface MoveWatch {
  /** Why nothing can be written just now, or ever again. */
  trouble(): string | undefined;
  /** Resolves when the database was moved away, with what to do. */
  readonly moved: Promise<string>;
  close(): void;
}

/** Looks whether the database is being moved, or was: then its clients have to go elsewhere. */
export function watchMove(db: Database, log: Logger): MoveWatch {
  let trouble: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let tell: (where: string) => void = () => undefined;
  const moved = new Promise<string>((resolve) => {
    tell = resolve;
  });
  async function look(): Promise<void> {
    try {
      const state = await moveState(db.aside);
      const refusal = refusalOf(state);
      trouble = refusal ?? (state?.phase === "fenced" ? `the database is being moved to ${state.other}` : undefined);
      if (refusal !== undefined) return tell(refusal);
    } catch (error) {
      // That the database is away is said by those who need it.
      log.debug({ err: error }, "whether the database is being moved could not be looked at; it is looked at again");
    }
    if (closed) return;
    timer = setTimeout(() => void look(), everyMs);
    timer.unref();
  }
  void look();
  return {
    trouble: () => trouble,
    moved,
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
