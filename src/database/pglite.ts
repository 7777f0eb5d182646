import { join, resolve } from "node:path";
import { inspect } from "node:util";
import { PGlite, type Transaction as PGliteTransaction, types } from "@electric-sql/pglite";
import { thrownByDriver } from "./errors.js";
import { lockFolder } from "./folder-lock.js";
import { writeOut } from "./image.js";
import { createLostLog } from "./lost-log.js";
import { engineModule } from "./pglite-module.js";
import { durableFolder, imageOf, inMemory } from "./pglite-options.js";
import { makePrivate } from "./private-folder.js";
import { queryError } from "./query-error.js";
import { pinning } from "./session.js";
import { requireStorable } from "./text.js";
import type { Database, Queryable, Subscription, Transaction } from "./types.js";
import { beginMaking, endMaking } from "./unfinished.js";

export interface PgliteOptions {
  /** The folder that keeps the database; made when missing. Without it the database lives in memory. */
  dataDir?: string | undefined;
  /** It will be open to others through a socket: they wait for that instead of being refused. */
  serves?: boolean | undefined;
  /** What a database in memory, or one that is not there yet, is made of. */
  template?: Template | undefined;
  /** Told when a handler of a notification threw, and when the log of the database can no longer be written. */
  onError?: ((error: Error) => void) | undefined;
}

/** In a folder there is no database until all of that is done: whoever is killed in the midst of it begins anew. */
export interface Template {
  /** What it begins with; in memory these bytes become its own. */
  image(): Promise<Uint8Array>;
  /** What the database is still to become. */
  finish?(db: PgliteDatabase): Promise<unknown>;
}

export interface PgliteDatabase extends Database {
  /** PGlite itself, for what goes past `Database`: the socket for other clients. */
  readonly client: PGlite;
  /** It was made by this opening, of the template: it is what that is, and needs no looking over. */
  readonly isOfTemplate: boolean;
  /** A copy of the whole database, for a `Template`. */
  image(): Promise<Uint8Array>;
}

/** It may be a project's folder, whose other files are none of perch's. */
const isOurs = (name: string) => /^(postgres|lock\.|alive\.|\.s\.PGSQL\.)/.test(name);

/** Where the files of Postgres are, within the folder that is locked. */
export const databaseFolder = (folder: string) => join(resolve(folder), "postgres");

async function run<Row>(client: PGlite | PGliteTransaction, sql: string, params: readonly unknown[] = []) {
  requireStorable(params);
  try {
    const result = await client.query<Row>(sql, params as unknown[]);
    return result.rows;
  } catch (error) {
    throw queryError(thrownByDriver(whereAsked(error)));
  }
}

/**
 * An error of the engine is made in the midst of it: Node shows the line it was made in, which are 18 kB of code without a line break, and nothing of who
 * asked. Out: the error, with the stack of whoever waits here.
 */
function whereAsked(error: unknown): unknown {
  if (error instanceof Error) Error.captureStackTrace(error, whereAsked);
  return error;
}

/**
 * Opens PGlite, in memory or in a folder of its own, which it locks.
 * Throws FolderInUseError when another process has the folder open: PGlite itself would let both write, and lose rows.
 */
export async function openPglite(options: PgliteOptions = {}): Promise<PgliteDatabase> {
  const onError = options.onError ?? ((error: Error) => process.emitWarning(error));
  let unlock: () => Promise<void> = async () => undefined;
  let dataDir: string | undefined;
  if (options.dataDir !== undefined) {
    const folder = resolve(options.dataDir);
    await makePrivate(folder, isOurs);
    unlock = await lockFolder(folder, options.serves);
    dataDir = databaseFolder(folder);
  }

  const log = createLostLog(onError);
  let client: PGlite;
  let isNew = true;
  try {
    if (dataDir !== undefined) isNew = await beginMaking(dataDir);
    const [pgliteWasmModule, image] = await Promise.all([
      engineModule(),
      isNew ? options.template?.image() : undefined,
    ]);
    if (image !== undefined && dataDir !== undefined) await writeOut(image, dataDir);
    client = await PGlite.create({
      ...(dataDir === undefined ? inMemory(image) : durableFolder(dataDir, log.lose)),
      pgliteWasmModule,
      parsers: { [types.INT8]: Number },
    });
    log.guard(client);
    await client.exec(pinning);
    // What PGlite writes to make a database goes past its file system.
    if (dataDir !== undefined) await makePrivate(dataDir);
  } catch (error) {
    await unlock();
    // What comes out of PGlite's file system is no Error, and says nothing by itself.
    if (error instanceof Error) throw error;
    throw new Error(
      `the embedded database${dataDir === undefined ? "" : ` in ${dataDir}`} cannot be opened: ${inspect(error)}`,
      {
        cause: error,
      },
    );
  }

  const underWay = new Set<{ readonly since: number }>();
  async function counted<T>(work: () => Promise<T>): Promise<T> {
    const entry = { since: performance.now() };
    underWay.add(entry);
    try {
      return await work();
    } finally {
      underWay.delete(entry);
    }
  }

  async function transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    let ofWork: { readonly error: unknown } | undefined;
    try {
      return await client.transaction(async (inner) => {
        let failed = false;
        const noting = async <R>(result: Promise<R>): Promise<R> => {
          try {
            return await result;
          } catch (error) {
            failed = true;
            throw queryError(thrownByDriver(error));
          }
        };
        const tx: Transaction = {
          query: <Row>(sql: string, params?: readonly unknown[]) => noting(run<Row>(inner, sql, params)),
          last: <Row>(sql: string, params?: readonly unknown[]) => noting(run<Row>(inner, sql, params)),
          script: async (sql) => {
            try {
              await noting(inner.exec(sql));
            } catch (error) {
              throw whereAsked(error);
            }
          },
        };
        const result = await work(tx).catch((error: unknown) => {
          ofWork = { error };
          throw error;
        });
        // COMMIT of a failed transaction rolls back without an error; this statement fails in one.
        if (failed) await inner.query("select 1");
        return result;
      });
    } catch (error) {
      throw queryError(ofWork?.error === error ? error : thrownByDriver(error));
    }
  }

  const alone: Queryable = {
    query: <Row>(sql: string, params?: readonly unknown[]) => counted(() => run<Row>(client, sql, params)),
  };
  const subscriptions = new Set<Subscription>();
  let closing: Promise<void> | undefined;

  const db: PgliteDatabase = {
    kind: "pglite",
    client,
    isOfTemplate: isNew && options.template !== undefined,
    ...alone,
    aside: alone,
    transaction: (work) => counted(() => transaction(work)),
    async listen(channels, on) {
      let closed = false;
      const guarded = (call: () => void) => {
        if (closed) return;
        try {
          call();
        } catch (error) {
          onError(error instanceof Error ? error : new Error(String(error)));
        }
      };
      const stops: (() => Promise<void>)[] = [];
      for (const channel of channels) {
        stops.push(await client.listen(`"${channel}"`, (payload) => guarded(() => on.notify(channel, payload))));
      }
      guarded(on.ready);
      const subscription: Subscription = {
        async close() {
          if (closed) return;
          closed = true;
          subscriptions.delete(subscription);
          for (const stop of stops) await stop();
        },
      };
      subscriptions.add(subscription);
      return subscription;
    },
    stats() {
      const [oldest] = underWay;
      return {
        max: 1,
        open: 1,
        idle: oldest === undefined ? 1 : 0,
        waiting: Math.max(0, underWay.size - 1),
        oldestMs: oldest === undefined ? 0 : performance.now() - oldest.since,
      };
    },
    image: () => imageOf(client),
    close() {
      closing ??= (async () => {
        if (log.error() === undefined) {
          await Promise.all([...subscriptions].map((subscription) => subscription.close()));
          await client.close();
        }
        await unlock();
      })();
      return closing;
    },
    [Symbol.asyncDispose]: () => db.close(),
  };
  if (!isNew) return db;
  try {
    await options.template?.finish?.(db);
    if (dataDir !== undefined) await endMaking(dataDir);
    return db;
  } catch (error) {
    await db.close();
    throw error;
  }
}
