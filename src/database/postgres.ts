import type pg from "pg";
import { breaks, NoAnswer, within } from "./answers.js";
import { isFullNotificationQueue, lacksConnections, thrownByDriver } from "./errors.js";
import { createHosts } from "./hosts.js";
import { defaultMaxMessageBytes } from "./message-limit.js";
import { createQueueRelief } from "./notification-queue.js";
import { connectTimeoutMs, createConnections, readsOnly } from "./postgres-connections.js";
import { listenPostgres } from "./postgres-listen.js";
import { readPostgresUrl } from "./postgres-url.js";
import { createPreparedStatements } from "./prepared.js";
import { queryError } from "./query-error.js";
import { beginning, beginningPinned, type SessionLimits } from "./session.js";
import { requireStorable } from "./text.js";
import type { Database, Listening, Queryable, QueryOptions, Transaction } from "./types.js";

export interface PostgresOptions {
  /** May name several hosts, and which of them are wanted; see `readPostgresUrl`. */
  url: string;
  /** Where to LISTEN, when `url` goes through a transaction-pooling proxy, behind which LISTEN is silently useless. */
  listenUrl?: string | undefined;
  /** See `DatabaseOptions`. */
  prepare?: boolean | undefined;
  poolSize?: number | undefined;
  /** How long a statement may take before its connection counts as lost; unlimited when not given. */
  queryTimeoutMs?: number | undefined;
  /** How long a transaction may ask nothing before the server ends it; as the login has it when not given. */
  idleTransactionMs?: number | undefined;
  /** A message of the server over so many bytes ends its connection; 256 MiB when not given. */
  maxMessageBytes?: number | undefined;
  applicationName?: string | undefined;
  /** Told of errors nobody waits for: an idle connection that broke, a handler of a notification that threw. */
  onError?: ((error: Error) => void) | undefined;
}

/** How long closing waits for queries that are under way, and for the server to say goodbye, before it cuts the connections. */
const closeMs = 3_000;
/** A statement is ended by the server so much before it is given up here, so that it does not wait on where nobody waits for it. */
const serverFirst = { ms: 1_000, share: 0.2 };
/** What is asked aside is about how things are, and worth nothing later. */
const asideMs = 1_500;
/** How often it is asked whether a statement that was given up still runs. */
const outlastEveryMs = 1_000;
/** A server that has not answered something for so long may be gone without a word, and another in its place: then that is looked for, so often. */
const doubt = { afterMs: 2_000, everyMs: 1_000 };
/** The server had no connection left: for so long this process makes do with those it has. */
const scarceMs = 5_000;

/** Opens a pool; it connects on first use. Throws PostgresUrlError for a URL that cannot be read. */
export function openPostgres(options: PostgresOptions): Database {
  const onError = options.onError ?? ((error: Error) => process.emitWarning(error));
  const { queryTimeoutMs } = options;
  const max = options.poolSize ?? 10;
  const address = readPostgresUrl(options.url);
  const listenAddress = options.listenUrl === undefined ? address : readPostgresUrl(options.listenUrl);
  const connection = {
    application_name: options.applicationName ?? "perch",
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  };
  const limits: SessionLimits = {
    statementMs:
      queryTimeoutMs && Math.round(Math.max(queryTimeoutMs - serverFirst.ms, queryTimeoutMs * (1 - serverFirst.share))),
    idleTransactionMs: options.idleTransactionMs,
  };
  const begin = { direct: beginning, pooled: beginningPinned(limits) };
  const subscriptions = new Set<Listening>();
  const queue = createQueueRelief(
    async () => (await aside.query<{ usage: number }>("select pg_notification_queue_usage() as usage"))[0]?.usage ?? 0,
    async () => {
      await Promise.all([...subscriptions].map((subscription) => subscription.anew()));
    },
  );
  const prepared = options.prepare ? createPreparedStatements() : undefined;
  /** Failures of statements only because they were prepared. */
  const stale = new WeakSet<object>();
  /** Of each statement without an answer, when it was sent. */
  const unanswered = new Set<{ readonly since: number }>();
  let closing: Promise<void> | undefined;
  let doubting: NodeJS.Timeout | undefined;

  const connections = createConnections({
    address,
    connection,
    maxMessageBytes: options.maxMessageBytes ?? defaultMaxMessageBytes,
    onError,
    isClosing: () => closing !== undefined,
    answer,
    queryOn: run,
  });
  const pool = connections.openPool({ max }, limits);
  // Once made it is kept, also while the server has none left.
  const asidePool = connections.openPool({ max: 1, min: 1 }, { ...limits, statementMs: asideMs });
  const isDirect = (client: pg.ClientBase) => connections.session(client)?.direct ?? false;

  /** What to throw for what a statement, or a commit, failed with. */
  function failed(error: unknown): unknown {
    if (isFullNotificationQueue(error) && closing === undefined) queue.relieve().catch(onError);
    return queryError(error);
  }

  /** Waits for an answer for as long as statements may take. Errors: NoAnswer. */
  async function answer<T>(asked: Promise<T>): Promise<T> {
    const entry = { since: performance.now() };
    unanswered.add(entry);
    if (address.hosts.length > 1 && doubting === undefined) doubting = setTimeout(lookElsewhere, doubt.everyMs).unref();
    asked.then(
      () => unanswered.delete(entry),
      () => unanswered.delete(entry),
    );
    try {
      return await (queryTimeoutMs === undefined ? asked : within(queryTimeoutMs, asked));
    } catch (error) {
      throw thrownByDriver(error);
    }
  }

  /**
   * A machine that loses its power closes no connection, and all that is asked would wait for it as long as statements may take, or for
   * ever. The connection aside is given up soon, and made anew to whichever host can be used: when that is another one, all that is
   * asked of the one before is ended (see `createConnections`).
   */
  function lookElsewhere(): void {
    doubting = undefined;
    if (closing !== undefined || unanswered.size === 0) return;
    doubting = setTimeout(lookElsewhere, doubt.everyMs).unref();
    // That none answers is said to whoever asks something.
    if (oldestMs() > doubt.afterMs) aside.query("select").catch(() => undefined);
  }

  function oldestMs(): number {
    const now = performance.now();
    return [...unanswered].reduce((oldest, { since }) => Math.max(oldest, now - since), 0);
  }

  async function run<Row>(
    client: pg.ClientBase,
    sql: string,
    params: readonly unknown[] = [],
    { prepare = false, unlimited = false }: QueryOptions = {},
  ): Promise<Row[]> {
    const values = params as unknown[];
    requireStorable(params);
    const asked = prepare && prepared ? client.query(prepared.config(sql, values)) : client.query(sql, values);
    try {
      return (await (unlimited ? asked : answer(asked))).rows as Row[];
    } catch (error) {
      if (prepare && prepared?.isStale(error)) stale.add(error as object);
      throw failed(error);
    }
  }

  async function runScript(client: pg.ClientBase, sql: string): Promise<void> {
    try {
      await answer(client.query(sql));
    } catch (error) {
      throw failed(error);
    }
  }

  /** A statement that is a transaction by itself. */
  async function alone<Row>(client: pg.PoolClient, sql: string, params?: readonly unknown[], how?: QueryOptions) {
    if (how?.unlimited) return unlimited<Row>(client, sql, params, how);
    if (isDirect(client)) return run<Row>(client, sql, params, how);
    // All three go out at once. When the statement fails, so does what it is in, and COMMIT is then answered as ROLLBACK.
    const [begun, rows, ended] = await Promise.allSettled([
      runScript(client, begin.pooled),
      run<Row>(client, sql, params, how),
      answer(client.query("commit")),
    ]);
    if (begun.status === "rejected") throw begun.reason;
    if (rows.status === "rejected") throw rows.reason;
    if (ended.status === "rejected") throw failed(ended.reason);
    return rows.value;
  }

  /** In a transaction without the limit of the session. COMMIT goes out when there is an answer: it has a limit of its own. */
  async function unlimited<Row>(client: pg.PoolClient, sql: string, params?: readonly unknown[], how?: QueryOptions) {
    const first = isDirect(client) ? begin.direct : begin.pooled;
    await runScript(client, `${first}; set local statement_timeout = 0`);
    try {
      const rows = await run<Row>(client, sql, params, how);
      await runScript(client, "commit");
      return rows;
    } catch (error) {
      if (!breaks(error)) await runScript(client, "rollback");
      throw error;
    }
  }

  /** A connection of the pool. Where the server has none left, whoever comes waits for one that this process has. */
  async function take(): Promise<pg.PoolClient> {
    const until = performance.now() + connectTimeoutMs;
    for (;;) {
      try {
        return await connections.connect(pool);
      } catch (error) {
        if (!lacksConnections(error) || pool.totalCount === 0 || performance.now() > until) throw error;
        pool.options.max = pool.totalCount;
        setTimeout(() => {
          pool.options.max = max;
        }, scarceMs).unref();
      }
    }
  }

  /**
   * Back to the pool; or, after an error that says that it cannot be used any more, out of it. Its place is free for another only when the
   * server is done with it: a commit that waits for a standby goes on for as long as that takes, whatever its client does, and there
   * would be a session more for every one that was given up, until the server had none left for anybody.
   */
  async function give(client: pg.PoolClient, error: unknown): Promise<void> {
    if (connections.isLeft(client) || (await connections.turned(client, error))) return client.release(true);
    if (error === undefined || !breaks(error)) return client.release();
    if (error instanceof NoAnswer && isDirect(client)) await outlast(client);
    client.release(true);
  }

  async function outlast(client: pg.PoolClient): Promise<void> {
    let over = false;
    const end = () => {
      over = true;
    };
    client.once("end", end).once("drain", end);
    while (!over && closing === undefined && (await isThere(client))) {
      await new Promise((done) => setTimeout(done, outlastEveryMs).unref());
    }
    client.off("end", end).off("drain", end);
  }

  /** Whether the server still has the session, as far as can be told. */
  async function isThere(client: pg.PoolClient): Promise<boolean> {
    const session = connections.session(client);
    if (session === undefined) return false;
    try {
      const found = await aside.query(
        "select from pg_stat_get_activity($1) a where extract(epoch from a.backend_start)::text = $2",
        [session.processId, session.since],
      );
      return found.length > 0;
    } catch {
      // Then nothing can be made of the place it holds either.
      return false;
    }
  }

  async function transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const client = await take();
    // A connection that breaks while it is checked out fails the query in flight; its event must still have a listener.
    let broken: Error | undefined;
    const breaking = (error: Error) => {
      broken = error;
    };
    client.on("error", breaking);
    let refused: unknown;
    const noting = <T>(asked: Promise<T>): Promise<T> =>
      asked.catch((error: unknown) => {
        if (breaks(error)) broken ??= error as Error;
        if (readsOnly(error)) refused = error;
        throw error;
      });
    // BEGIN goes out with the first statement. It is a message of its own: so whatever is behind it, sent before anything is answered, is in a
    // transaction, and is refused there when something before it has failed.
    const first = isDirect(client) ? begin.direct : begin.pooled;
    let begun: Promise<void> | undefined;
    let committing: Promise<pg.QueryResult> | undefined;
    function inOrder<T>(send: () => Promise<T>): Promise<T> {
      if (begun === undefined) {
        begun = noting(runScript(client, first));
        // Whoever has to know of it asks below.
        begun.catch(() => undefined);
      }
      return noting(send());
    }
    const commit = () => noting(answer(client.query("commit")));
    const tx: Transaction = {
      query: (sql, params, how) => inOrder(() => run(client, sql, params, how)),
      script: (sql) => inOrder(() => runScript(client, sql)),
      last(sql, params, how) {
        const asked = inOrder(() => run<never>(client, sql, params, how));
        committing = commit();
        committing.catch(() => undefined);
        return asked;
      },
    };
    try {
      const result = await work(tx);
      if (begun === undefined) return result;
      await begun;
      const committed = await (committing ?? commit());
      // Postgres answers the COMMIT of a failed transaction with success and the tag ROLLBACK.
      if (committed?.command !== "COMMIT") {
        throw new Error(
          "the transaction was rolled back: one of its statements failed, and the error was caught; let it through, or try the statement within a savepoint",
        );
      }
      return result;
    } catch (error) {
      // A connection that is closed is rolled back by the server; asking for it would only wait once more.
      if (broken === undefined) await (committing ?? noting(answer(client.query("rollback")))).catch(() => undefined);
      throw failed(error);
    } finally {
      client.off("error", breaking);
      void give(client, broken ?? refused);
    }
  }

  async function query<Row>(sql: string, params?: readonly unknown[], how: QueryOptions = {}): Promise<Row[]> {
    const client = await take();
    let failure: unknown;
    try {
      return await alone<Row>(client, sql, params, how);
    } catch (error) {
      failure = error;
      // By itself it is tried again; within a transaction there is nothing left to try it in.
      if (!stale.has(error as object) && !(await connections.turned(client, error))) throw error;
    } finally {
      void give(client, failure);
    }
    return query(sql, params, how);
  }

  async function outside(statements: readonly string[]): Promise<void> {
    // Not of the pool, all of which whoever asks may hold meanwhile.
    const own = connections.openPool({ max: 1 }, {});
    try {
      const client = await connections.connect(own);
      try {
        if (!isDirect(client))
          throw new Error("this needs a URL of the server itself, not of a proxy that pools transactions");
        // Without the limit on answers: an index takes as long as it takes.
        for (const statement of statements) {
          await client.query(statement).catch((error: unknown) => {
            throw thrownByDriver(error);
          });
        }
      } finally {
        client.release(true);
      }
    } catch (error) {
      throw failed(error);
    } finally {
      await own.end();
    }
  }

  const aside: Queryable = {
    async query<Row>(sql: string, params?: readonly unknown[]) {
      const client = await connections.connect(asidePool);
      let failure: unknown;
      try {
        return await within(asideMs, alone<Row>(client, sql, params));
      } catch (error) {
        failure = error;
        throw thrownByDriver(error);
      } finally {
        client.release(failure !== undefined && breaks(failure));
      }
    },
  };

  const db: Database = {
    kind: "postgres",
    query,
    transaction,
    outside,
    aside,
    async listen(channels, on) {
      const place = {
        hosts: options.listenUrl === undefined ? connections.hosts : createHosts(listenAddress),
        connection: { ...connection, connectionTimeoutMillis: connections.dialMs },
      };
      const subscription = await listenPostgres(place, channels, on, onError).catch((error: unknown) => {
        throw thrownByDriver(error);
      });
      const tracked: Listening = {
        anew: subscription.anew,
        close: () => {
          subscriptions.delete(tracked);
          return subscription.close();
        },
      };
      subscriptions.add(tracked);
      return tracked;
    },
    beforeServing: connections.beforeServing,
    relieveQueue: queue.relieve,
    stats() {
      return {
        max,
        open: pool.totalCount,
        idle: pool.idleCount,
        waiting: pool.waitingCount,
        oldestMs: oldestMs(),
      };
    },
    close() {
      closing ??= (async () => {
        // A server that answers nothing any more lets neither end: its queries fail then, and nobody waits for its goodbye.
        const gone = new Promise<void>((resolve) => {
          setTimeout(() => {
            connections.cutAll();
            setImmediate(resolve);
          }, closeMs).unref();
        });
        await Promise.race([gone, Promise.all([...subscriptions].map((subscription) => subscription.close()))]);
        await Promise.race([gone, Promise.all([pool.end(), asidePool.end()])]);
      })();
      return closing;
    },
    [Symbol.asyncDispose]: () => db.close(),
  };
  return db;
}
