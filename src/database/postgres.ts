import type { Duplex } from "node:stream";
import pg from "pg";
import { PerchError, toPerchError } from "../errors.js";
import { listenPostgres } from "./postgres-listen.js";
import { rowTypes } from "./postgres-types.js";
import { createPreparedStatements } from "./prepared.js";
import { requireStorable } from "./text.js";
import type { Database, QueryOptions, Subscription, Transaction } from "./types.js";

export interface PostgresOptions {
  url: string;
  /** Where to LISTEN, when `url` goes through a transaction-pooling proxy, behind which LISTEN is silently useless. */
  listenUrl?: string | undefined;
  /** See `DatabaseOptions`. */
  prepare?: boolean | undefined;
  poolSize?: number | undefined;
  /** How long a statement may take before its connection counts as lost; unlimited when not given. */
  queryTimeoutMs?: number | undefined;
  applicationName?: string | undefined;
  /** Told of errors nobody waits for: an idle connection that broke, a handler of a notification that threw. */
  onError?: ((error: Error) => void) | undefined;
}

/** How long a connection attempt may take before it counts as failed. */
export const connectTimeoutMs = 10_000;
/** How long closing waits for queries that are under way, and for the server to say goodbye, before it cuts the connections. */
const closeMs = 3_000;

async function runScript(client: pg.ClientBase, sql: string): Promise<void> {
  try {
    await client.query(sql);
  } catch (error) {
    throw toPerchError(error) ?? error;
  }
}

const isServersAnswer = (error: unknown) => error instanceof PerchError || error instanceof pg.DatabaseError;

/** Opens a pool; it connects on first use, so a wrong URL shows with the first query. */
export function openPostgres(options: PostgresOptions): Database {
  const onError = options.onError ?? ((error: Error) => process.emitWarning(error));
  const connection = {
    application_name: options.applicationName ?? "perch",
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
  };
  const max = options.poolSize ?? 10;
  const pool = new pg.Pool({
    ...connection,
    connectionString: options.url,
    max,
    // A server that froze, or a network that swallows everything, would otherwise keep the connection busy for good.
    ...(options.queryTimeoutMs === undefined ? {} : { query_timeout: options.queryTimeoutMs }),
    types: rowTypes,
  });
  // A pool that is being closed loses its connections; that is no news.
  pool.on("error", (error) => {
    if (closing === undefined) onError(error);
  });
  const clients = new Set<pg.PoolClient>();
  pool.on("connect", (client) => {
    clients.add(client);
    // The pool hands a connection on within the event that brings its last answer, and what broke it may come in that same event, before
    // whoever gets it can listen. Without any listener such an error would end the process.
    client.on("error", () => undefined);
  });
  pool.on("remove", (client) => clients.delete(client));
  const subscriptions = new Set<Subscription>();
  const prepared = options.prepare ? createPreparedStatements() : undefined;
  let closing: Promise<void> | undefined;

  async function run<Row>(
    client: pg.ClientBase | pg.Pool,
    sql: string,
    params: readonly unknown[] = [],
    { prepare = false }: QueryOptions = {},
  ): Promise<Row[]> {
    const values = params as unknown[];
    requireStorable(params);
    try {
      if (!prepare || !prepared) return (await client.query(sql, values)).rows as Row[];
      return (await client.query(prepared.config(sql, values))).rows as Row[];
    } catch (error) {
      // By itself it is tried again; within a transaction there is nothing left to try it in.
      if (prepare && prepared?.isStale(error) && client === pool) return run(client, sql, params, { prepare });
      throw toPerchError(error) ?? error;
    }
  }

  async function transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const client = await pool.connect();
    // A connection that breaks while it is checked out fails the query in flight; its event must still have a listener.
    let broken: Error | undefined;
    const breaks = (error: Error) => {
      broken = error;
    };
    client.on("error", breaks);
    /** What the server itself did not answer says that nothing more can be asked on this connection. */
    const noting = <T>(answer: Promise<T>): Promise<T> =>
      answer.catch((error: unknown) => {
        if (!isServersAnswer(error)) broken ??= error as Error;
        throw error;
      });
    // BEGIN goes out with the first statement, and in one message with it where that is a script: a round trip less. A script that
    // cannot even be parsed begins nothing; so after any error of it nothing more is sent, just as the server would refuse it.
    let begun: Promise<unknown> | undefined;
    const tx: Transaction = {
      async query(sql, params, options) {
        begun ??= noting(run(client, "begin"));
        await begun;
        return noting(run(client, sql, params, options));
      },
      async script(sql) {
        if (begun === undefined) {
          begun = noting(runScript(client, `begin;\n${sql}`));
          await begun;
        } else {
          await begun;
          await noting(runScript(client, sql));
        }
      },
    };
    try {
      const result = await work(tx);
      if (begun === undefined) return result;
      const open = await begun.then(
        () => true,
        () => false,
      );
      const committed = open ? await noting(client.query("commit")) : undefined;
      // Postgres answers the COMMIT of a failed transaction with success and the tag ROLLBACK.
      if (committed?.command !== "COMMIT") {
        throw new Error(
          "the transaction was rolled back: one of its statements failed and the error was not passed on",
        );
      }
      return result;
    } catch (error) {
      // A connection that is closed is rolled back by the server; asking for it would only wait once more.
      if (broken === undefined) {
        await client.query("rollback").catch((failure: Error) => {
          broken ??= failure;
        });
      }
      throw toPerchError(error) ?? error;
    } finally {
      client.off("error", breaks);
      client.release(broken);
    }
  }

  return {
    kind: "postgres",
    query: (sql, params, options) => run(pool, sql, params, options),
    transaction,
    async listen(channels, on) {
      const config = { ...connection, connectionString: options.listenUrl ?? options.url };
      const subscription = await listenPostgres(config, channels, on, onError);
      const tracked: Subscription = {
        close: () => {
          subscriptions.delete(tracked);
          return subscription.close();
        },
      };
      subscriptions.add(tracked);
      return tracked;
    },
    stats: () => ({ max, open: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    close() {
      closing ??= (async () => {
        // A server that answers nothing any more lets neither end: its queries fail then, and nobody waits for its goodbye.
        const gone = new Promise<void>((resolve) => {
          setTimeout(() => {
            for (const client of clients) cut(client);
            setImmediate(resolve);
          }, closeMs).unref();
        });
        await Promise.race([gone, Promise.all([...subscriptions].map((subscription) => subscription.close()))]);
        await Promise.race([gone, pool.end()]);
      })();
      return closing;
    },
  };
}

function cut(client: pg.PoolClient): void {
  (client as unknown as { connection: { stream: Duplex } }).connection.stream.destroy();
}
