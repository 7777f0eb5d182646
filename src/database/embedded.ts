import { connect as connectTo } from "node:net";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { FolderInUseError } from "./folder-lock.js";
import { migrate } from "./migrate.js";
import type { OpenOptions } from "./options.js";
import { openPglite, type PgliteDatabase, type Template } from "./pglite.js";
import { socketPath, socketUrl } from "./pglite-socket.js";
import { becomeItself, databaseTemplate } from "./template.js";

/** The embedded database, in a folder or in memory, for this process alone. */
export async function openEmbedded(
  dataDir: string | undefined,
  { onError, serves, begin, ...options }: OpenOptions,
): Promise<PgliteDatabase> {
  let isNew = false;
  const template: Template = {
    image: databaseTemplate,
    async finish(made) {
      isNew = true;
      await becomeItself(made);
    },
  };
  const isWanted = options.migrate !== false || serves === true || begin === "migrated";
  const db = await openPglite({ dataDir, onError, serves, ...(isWanted && { template }) });
  try {
    if (!isNew && options.migrate !== false) await migrate(db);
    return db;
  } catch (error) {
    await db.close();
    throw error;
  }
}

/** How long a process that has the folder may take until it lets others in: it migrates first. */
const servesWithinMs = 60_000;

/** The embedded database in a folder, opened here; or the URL of the process that has it and lets others in. */
export async function openOrReach(dataDir: string, options: OpenOptions = {}): Promise<PgliteDatabase | string> {
  const folder = resolve(dataDir);
  for (const deadline = Date.now() + servesWithinMs; ; await sleep(100)) {
    try {
      return await openEmbedded(folder, options);
    } catch (error) {
      if (!(error instanceof FolderInUseError && error.serves) || options.share === false) throw error;
      if (await answers(socketPath(folder))) return socketUrl(folder);
      if (Date.now() > deadline) throw error;
    }
  }
}

/** Whether anybody listens there: a socket may have been left behind by a process that was killed. */
function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connectTo(path);
    const say = (answer: boolean) => {
      socket.destroy();
      done(answer);
    };
    socket.once("connect", () => say(true)).once("error", () => say(false));
  });
}
