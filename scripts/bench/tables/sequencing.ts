import { openDatabase } from "../../../src/database/open.js";
import { createNotificationHub } from "../../../src/notifications/hub.js";
import { createSequencer } from "../../../src/worker/sequencer.js";

/** What a worker does for synced tables, and nothing else of it. Out: ends it. */
export async function startSequencing(url: string): Promise<() => Promise<void>> {
  const db = await openDatabase({ url, poolSize: 2, prepare: true });
  const log = {
    info: () => undefined,
    warn: (details: object, message: string) => process.stderr.write(`${message} ${JSON.stringify(details)}\n`),
  };
  const sequencer = createSequencer({ db, log });
  const hub = createNotificationHub(db, log);
  hub.add({ notified: ({ channel }) => channel === "perch_captured" && sequencer.notified() });
  await hub.start();
  const timer = setInterval(() => {
    sequencer.poll().catch((error: unknown) => log.warn({ error: String(error) }, "sequencing failed"));
  }, 1_000);
  await sequencer.poll();
  return async () => {
    clearInterval(timer);
    await sequencer.close();
    await hub.close();
    await db.close();
  };
}
