/**
 * What perch needs of a database, the same over a Postgres server and over PGlite.
 *
 * Rows have the same types from both: int8 is a number, bytea a Uint8Array with an ArrayBuffer of its own, json parsed,
 * timestamptz a Date, arrays are arrays of these. Parameters may be null, string, number, bigint, boolean, Date, Uint8Array and
 * arrays of these; JSON is passed as a string (`JSON.stringify(value)` with `$1::jsonb`).
 */
export interface Queryable {
  /**
   * Runs one statement and returns its rows. Throws a PerchError when the database raised one of perch's codes, otherwise the
   * driver's error with its SQLSTATE in `code`.
   */
  query<Row = Record<string, unknown>>(
    sql: string,
    params?: readonly unknown[],
    options?: QueryOptions,
  ): Promise<Row[]>;
}

export interface QueryOptions {
  /**
   * The text is always the same and is run again and again: where the database was opened so (`prepare`), its connections keep it
   * prepared. Not for texts that are put together, of which the server would collect one after another.
   */
  readonly prepare?: boolean;
  /** It takes as long as it takes: no limit on statements, here or on the server, ends it. Only alone, not in a transaction. */
  readonly unlimited?: boolean;
}

/**
 * A transaction in progress; use it only inside the `work` it was handed to. What is asked is sent at once, in the order in which it is asked,
 * also while nothing was answered yet: so what needs no answer before the next is asked costs no wait of its own.
 */
export interface Transaction extends Queryable {
  /** Runs a script of several statements without parameters. Throws like `query`. */
  script(sql: string): Promise<void>;
  /** As `query`, of the statement behind which nothing is asked any more: COMMIT goes out with it. */
  last: Queryable["query"];
}

export interface ListenHandlers {
  /** A notification arrived. */
  notify(channel: string, payload: string): void;
  /** LISTEN is in force, at first and after every reconnect. What was sent before is lost: read your tables now. */
  ready(): void;
  /** The connection broke; it is being made again, without end and with back-off. */
  lost?(error: Error): void;
}

// For programs that are compiled without it: every Node that perch runs on has it.
declare global {
  interface SymbolConstructor {
    readonly asyncDispose: unique symbol;
  }
}

export interface Subscription {
  close(): Promise<void>;
}

/** A subscription on a connection that can be lost. */
export interface Listening extends Subscription {
  /** Listens on a new connection, and then no more on the one before: nothing is missed, some of it may be told twice. Errors: it goes on as it was. */
  anew(): Promise<void>;
}

/** How the connections are used at this moment. PGlite is one session, which counts as one connection. */
export interface PoolStats {
  /** The most there may be. */
  readonly max: number;
  /** Those there are. */
  readonly open: number;
  /** Of these, the ones that do nothing. */
  readonly idle: number;
  /** Queries and transactions that wait for a connection: for long above 0, the pool is too small or the database too slow. */
  readonly waiting: number;
  /** For how long the statement, or commit, that has been without an answer longest has been so; 0 when there is none. */
  readonly oldestMs: number;
}

export interface Database extends Queryable {
  readonly kind: "postgres" | "pglite";
  /**
   * BEGIN, work, COMMIT; ROLLBACK when work throws, and the error is thrown on.
   * PGlite is one session: a transaction excludes every other query on the same database until it ends, so inside `work` use
   * only `tx`; waiting for the database itself would wait for ever.
   */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  /**
   * Runs statements one after another on a connection of its own, each by itself and in no transaction, and closes it. Takes as long as they take.
   * Absent where there is but one session. Errors: as `query`; through a proxy that pools transactions.
   */
  outside?(statements: readonly string[]): Promise<void>;
  /**
   * From now on, has a server looked at before anybody is answered by it: on the first connection to one that was started at another time than the
   * one before, as one is to which a failover leads, or that came back. While the look fails, so do connections to it. Out: ends that. Absent
   * where there is no server.
   */
  beforeServing?(check: (on: Queryable) => Promise<void>): () => void;
  /** Listens on channels until closed; resolves once LISTEN is in force, after the first `ready()`. */
  listen(channels: readonly string[], on: ListenHandlers): Promise<Subscription>;
  /**
   * The server's queue of notifications is nearly full: has room made in it, as far as that is ours to do (notification-queue.ts). Whose own
   * notifications did not fit need not ask. Absent where nobody else can fill it.
   */
  relieveQueue?(): Promise<void>;
  /**
   * A connection of its own, for what has to be answered while all others are busy: whether the database answers, and what it is doing.
   * What takes longer than 1.5 s fails. On PGlite it is the one session.
   */
  readonly aside: Queryable;
  /** Costs nothing: it is all known here. The connection that listens, and the one aside, are not among them. */
  stats(): PoolStats;
  /**
   * Ends subscriptions and connections, when the queries under way have been answered; after 3 s it cuts what is left, and they fail.
   * Safe to call twice. Until then the process lives: connections, and PGlite, keep it alive.
   */
  close(): Promise<void>;
  /** `await using db = await openDatabase()` closes it at the end of the block. */
  [Symbol.asyncDispose](): Promise<void>;
}
