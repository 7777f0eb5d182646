import type { Logger } from "pino";
import type { Database, ListenHandlers, Subscription } from "../database/types.js";

const retryMs = 1_000;

/** Listens for as long as the gateway runs, also when the database is away at first. Out: ends it. */
export function listenSteadily(
  db: Database,
  channels: readonly string[],
  on: ListenHandlers,
  log: Logger,
): () => Promise<void> {
  let subscription: Subscription | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  async function listen(): Promise<void> {
    try {
      subscription = await db.listen(channels, on);
    } catch (error) {
      if (stopped) return;
      log.warn({ err: error, channels }, "listening failed; it is tried again");
      timer = setTimeout(() => {
        listening = listen();
      }, retryMs);
    }
  }
  let listening = listen();

  return async () => {
    stopped = true;
    clearTimeout(timer);
    await listening;
    await subscription?.close();
  };
}
