import { type Contention, createContention } from "../database/contention.js";
import type { Database } from "../database/types.js";
import type { LiveDocuments } from "../documents/live.js";
import { createNotificationHub, type NotificationHub } from "../notifications/hub.js";
import type { Notification } from "../notifications/parse.js";
import { createDeclarations } from "./declarations.js";
import { createDeferredNotifications } from "./deferred-notifications.js";
import { createHistory } from "./history.js";
import { createInbox, type InboxStats } from "./inbox.js";
import type { WorkerLog } from "./log.js";
import { createProjections, type ProjectionsStats } from "./projections.js";
import { type Retention, startRetention } from "./retention.js";
import { createSequencer } from "./sequencer.js";
import { defaultWorkerSettings, type WorkerSettings } from "./settings.js";

export interface WorkerOptions {
  /** As a login with perch_worker; it has to be able to LISTEN. */
  db: Database;
  live: LiveDocuments;
  log?: WorkerLog | undefined;
  settings?: Partial<WorkerSettings> | undefined;
  /** What is known to be held locked by others, where the process shares that. */
  contention?: Contention | undefined;
  /** What the process hears of the database, where others use it too; it is not closed with the worker. */
  notifications?: NotificationHub | undefined;
}

export type WorkerStats = InboxStats & ProjectionsStats;

export interface Worker {
  /** Whether LISTEN is in force. */
  listening(): boolean;
  /** How far the worker is behind. Costs nothing: it is all known here. */
  stats(): WorkerStats;
  /** Begins nothing more, waits for what is under way, within `closeMs`. What is not done stays in the tables. */
  close(): Promise<void>;
}

const silent: WorkerLog = { info: () => undefined, warn: () => undefined };

/**
 * The worker of one process: merges what SQL callers pushed, projects documents into records, folds tails, brings what other
 * nodes appended to this node's readers, gives changes of synced tables their numbers, notifies for busy writers of the log, and forgets its
 * old entries. Any number of workers share one database; none is in charge.
 *
 * Notifications only say when to look. Everything is read from tables, and a poll looks at all of them whether it was notified or not: so a
 * notification that is lost (a connection that broke, a proxy that swallows them) costs `pollMs`, and no data. Errors are logged, and
 * the loop goes on.
 * Out: the worker, listening. Errors: when the first connection to LISTEN cannot be made.
 */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { db, live, log = silent, contention = createContention({ places: 2 }) } = options;
  const notifications = options.notifications ?? createNotificationHub(db, log);
  const settings = { ...defaultWorkerSettings, ...options.settings };
  const inbox = createInbox({ db, live, log, concurrency: settings.concurrency, contention });
  const projections = createProjections({ db, live, log, settings, contention });
  const declarations = createDeclarations(db, live);
  const deferred = createDeferredNotifications({ db, log });
  const sequencer = createSequencer({ db, log });
  const history = createHistory({ db, log });
  let closing: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let retention: Retention | undefined;

  function notified(notification: Notification): void {
    if (notification.channel === "perch_documents") live.notified(notification.key, notification.seq);
    if (notification.channel === "perch_captured") sequencer.notified();
    if (notification.channel !== "perch_changes") return;
    deferred.notified();
    history.notified(notification.spaceId);
  }

  // Whoever is answered by a server that was not asked before is answered after this, and not only who is told by a notification.
  const uncheck = db.beforeServing?.((on) => history.check(on));
  const checkHistory = () =>
    history.check().catch((error: unknown) => {
      log.warn(
        { err: error },
        "whether the database went back could not be looked at; the next connection tries again",
      );
    });

  const parts = [
    () => declarations.poll(),
    () => live.refreshAll(),
    () => inbox.wake(),
    () => projections.takeOver(),
    () => sequencer.poll(),
    () => deferred.poll(),
    () => history.poll(),
  ].map((look) => ({ look, underWay: undefined as Promise<void> | undefined }));
  const failing = new Set<object>();

  /** Looks at everything. What one part throws, or how long it takes, does not keep the others from looking. */
  function poll(): void {
    if (closing) return;
    clearTimeout(timer);
    for (const part of parts) {
      part.underWay ??= part
        .look()
        .then(
          () => looked(part),
          (error: unknown) => looked(part, error),
        )
        .finally(() => {
          part.underWay = undefined;
        });
    }
    timer = setTimeout(poll, settings.pollMs);
    timer.unref();
  }

  /** One line when it begins and one when it ends, however long the database is away. */
  function looked(part: object, error?: unknown): void {
    if (error !== undefined) {
      if (failing.size === 0)
        log.warn(
          { err: error },
          "the worker could not look for what is to be done; it is tried again, and merges and records wait",
        );
      failing.add(part);
    } else if (failing.delete(part) && failing.size === 0) {
      log.info({}, "the worker can look for what is to be done again");
    }
  }

  const stopUnexplained = live.onUnexplained(() => void inbox.wake());
  const stopListening = notifications.add({ notified, reconnected: checkHistory, ready: poll });

  async function finish(): Promise<void> {
    clearTimeout(timer);
    stopUnexplained();
    stopListening();
    uncheck?.();
    if (options.notifications === undefined) await notifications.close();
    await Promise.all([
      inbox.close(),
      projections.close(),
      sequencer.close(),
      deferred.close(),
      retention?.close(),
      ...parts.map(({ underWay }) => underWay),
    ]);
  }

  async function close(): Promise<void> {
    let patience: NodeJS.Timeout | undefined;
    const overtime = new Promise<"overtime">((resolve) => {
      patience = setTimeout(() => resolve("overtime"), settings.closeMs);
    });
    const ended = await Promise.race([finish(), overtime]);
    clearTimeout(patience);
    if (ended === "overtime")
      log.warn({}, "closing did not wait any longer for what is under way; whoever serves next does it again");
  }

  try {
    await checkHistory();
    await notifications.start();
    poll();
    retention = startRetention({ db, log, settings });
  } catch (error) {
    closing = finish();
    await closing;
    throw error;
  }

  return {
    listening: notifications.listening,
    stats: () => ({ ...inbox.stats(), ...projections.stats() }),
    close() {
      closing ??= close();
      return closing;
    },
  };
}
