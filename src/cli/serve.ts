import { createServer } from "node:net";
import type { Logger } from "pino";
import { shareConnections } from "../database/shares.js";
import { openStandbys, type Standbys } from "../database/standbys.js";
import type { Database } from "../database/types.js";
import { engineLimits } from "../documents/limit-settings.js";
import { createLiveDocuments } from "../documents/live/documents.js";
import { createDocumentEngine } from "../documents/loro/engine.js";
import { addEngineFigures, addWorkerFigures, type Gateway, startGateway } from "../gateway/index.js";
import { createNotificationHub } from "../notifications/hub.js";
import { startWorker } from "../worker/index.js";
import { UsageError } from "./command.js";
import { nameOf } from "./connect.js";
import { examine } from "./doctor-checks.js";
import { watchMove } from "./moved.js";
import type { ServeSettings } from "./settings.js";

export interface Serving {
  readonly gateway: Gateway;
  /** Resolves when the database was moved away, with what to do. */
  readonly moved: Promise<string>;
  /** Answers what was accepted, for so long at most, then ends everything but the database. */
  close(withinMs?: number): Promise<void>;
}

/**
 * Runs the worker and the gateway of one process on a migrated database.
 * Throws when the address is taken; nothing is left running then.
 */
export async function serve(db: Database, settings: ServeSettings, log: Logger): Promise<Serving> {
  const engine = createDocumentEngine({
    ...(settings.engineThreads === undefined ? {} : { threads: settings.engineThreads }),
    timeoutMs: settings.engineTimeoutMs,
    limits: engineLimits(settings, settings.gateway.maxUpdateBytes),
  });
  engine.warm();
  const shares = shareConnections(db, {
    perUser: settings.gateway.connectionsPerUser,
    heavy: settings.gateway.heavyConnections,
    waiters: settings.gateway.waitingConnections,
  });
  const standbys = settings.readUrls === undefined ? undefined : openReaders(db, settings.readUrls, settings, log);
  const live = createLiveDocuments({
    db: shares.reads,
    ...(standbys !== undefined && { look: (read) => standbys.read(shares.reads, read) }),
    appendsDb: shares.appends,
    engine,
    limits: { idleDocuments: settings.cachedDocuments },
    log,
  });
  const notifications = createNotificationHub(db, log);
  const move = watchMove(db, log);
  const ends: (() => Promise<void>)[] = [
    async () => move.close(),
    async () => standbys?.close(),
    () => notifications.close(),
    () => live.close(),
    () => engine.close(),
  ];
  try {
    const worker = await startWorker({
      db: shares.worker,
      live,
      log,
      settings: retention(settings),
      contention: shares.contention,
      notifications,
    });
    ends.unshift(() => worker.close());
    const gateway = await startGateway({
      db,
      shares,
      standbys,
      live,
      settings: settings.gateway,
      log,
      notifications,
      doctor: () => examine(db),
      notReady: () =>
        move.trouble() ?? (notifications.listening() ? undefined : "the connection that listens is being made again"),
    });
    addEngineFigures(gateway.metrics, engine);
    addWorkerFigures(gateway.metrics, worker);
    return {
      gateway,
      moved: move.moved,
      async close(withinMs) {
        move.close();
        // The worker begins nothing new while the gateway answers what it has accepted.
        await Promise.all([gateway.close(withinMs), worker.close()]);
        await notifications.close();
        await live.close();
        await standbys?.close();
        await engine.close();
      },
    };
  } catch (error) {
    for (const end of ends)
      await end().catch((failure: unknown) =>
        log.warn({ err: failure }, "a part could not be stopped; the process ends all the same"),
      );
    throw addressError(error, settings);
  }
}

/** Standbys that answer reads. Throws UsageError where there can be none. */
function openReaders(db: Database, urls: readonly string[], settings: ServeSettings, log: Logger): Standbys {
  if (db.kind === "pglite")
    throw new UsageError(
      "PERCH_READ_URLS is set, and the embedded database has no standbys; unset it, or name a server in DATABASE_URL",
    );
  for (const url of urls) nameOf(url);
  const { poolSize, queryTimeoutMs, maxMessageBytes } = settings;
  return openStandbys({ urls, db, poolSize, queryTimeoutMs, maxMessageBytes, log });
}

const dayMs = 24 * 60 * 60 * 1_000;

function retention({ keepChangesDays, keepChangesLast }: ServeSettings) {
  return { keepChangesMs: keepChangesDays === undefined ? undefined : keepChangesDays * dayMs, keepChangesLast };
}

function addressError(error: unknown, { gateway: { host, port } }: ServeSettings): unknown {
  const { code } = error as { code?: unknown };
  if (code === "EADDRINUSE") {
    return new Error(`port ${port} on ${host} is in use; stop what listens there, or choose another with --port`);
  }
  if (code === "EADDRNOTAVAIL") return new Error(`${host} is no address of this machine; choose another with --host`);
  if (code === "EACCES") return new Error(`port ${port} may not be used by this user; choose another with --port`);
  return error;
}

/** Throws when the address cannot be listened on: better before the database is touched than after. */
export async function requireAddress(settings: ServeSettings): Promise<void> {
  const { host, port } = settings.gateway;
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once("error", reject);
    probe.listen(port, host, resolve);
  }).catch((error: unknown) => {
    throw addressError(error, settings);
  });
  await new Promise((done) => probe.close(done));
}

/** What remains of the 5 s within which a process has to end, with some room. */
const stopsWithinMs = 4_700;
/** For answers that are on their way. */
const overWithinMs = 250;

/**
 * Waits for SIGTERM or SIGINT, or until there is nothing more to serve (`over`, with what to do), then runs `stop`. What does not end in time
 * is cut off, which loses nothing that was acknowledged: it is committed. A second signal ends the process at once. Out: the exit code.
 */
export async function untilStopped(
  stop: (withinMs: number | undefined) => Promise<void>,
  over: Promise<string>,
): Promise<number> {
  const asked = new Promise<undefined>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(undefined));
  });
  const reason = await Promise.race([asked, over]);
  if (reason !== undefined) process.stderr.write(`perch: ${reason}\n`);
  process.stdout.write("stopping\n");
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => process.exit(1));
  setTimeout(() => {
    process.stderr.write("perch: stopping took too long; what was not acknowledged may have to be sent again\n");
    process.exit(1);
  }, stopsWithinMs).unref();
  // What is under way cannot be written any more, and its clients are waited for elsewhere.
  await stop(reason === undefined ? undefined : overWithinMs);
  process.stdout.write("stopped\n");
  return reason === undefined ? 0 : 1;
}
