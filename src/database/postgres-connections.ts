import pg from "pg";
import { cut, within } from "./answers.js";
import { sqlStateOf, thrownByDriver } from "./errors.js";
import { createHosts, type Hosts, UnwantedServer } from "./hosts.js";
import { clientWithLimit } from "./message-limit.js";
import { rowTypes } from "./postgres-types.js";
import type { PostgresHost, PostgresUrl } from "./postgres-url.js";
import { pinningIfDirect, type SessionLimits, type SessionRow } from "./session.js";
import type { Queryable } from "./types.js";

/** How long a connection attempt may take before it counts as failed. */
export const connectTimeoutMs = 10_000;
/** The same where there are other hosts to try. */
const connectTimeoutOfManyMs = 3_000;

interface Session extends SessionRow {
  readonly processId: number;
}

/** Whether a server that took writes takes them no more: it follows another one now, or was told to. */
export const readsOnly = (error: unknown) => sqlStateOf(error) === "25006";

export interface ConnectionsOptions {
  readonly address: PostgresUrl;
  /** Of every connection, besides where it leads. */
  readonly connection: pg.ClientConfig;
  /** A message of the server over so many bytes ends its connection. */
  readonly maxMessageBytes: number;
  /** Told of connections that break while nobody uses them. */
  readonly onError: (error: Error) => void;
  /** Whether the pools are being closed: they lose their connections, which is nothing to report. */
  isClosing(): boolean;
  /** Waits for an answer for as long as statements may take. */
  answer<T>(asked: Promise<T>): Promise<T>;
  /** Asks something on a connection, as everything is asked there. */
  queryOn<Row>(client: pg.ClientBase, sql: string, params?: readonly unknown[]): Promise<Row[]>;
}

/** Connections to the one of several servers that is wanted, for as long as it is. */
export interface Connections {
  readonly hosts: Hosts;
  /** How long a connection attempt may take. */
  readonly dialMs: number;
  openPool(size: { max: number; min?: number }, sessionLimits: SessionLimits): pg.Pool;
  /** A connection that is made, if need be, to whichever host can be used. Errors: NoHost, when none can. */
  connect(from: pg.Pool): Promise<pg.PoolClient>;
  session(client: pg.ClientBase): Session | undefined;
  /** Whether it leads to a server that is not what it was when it was made: it is not to be used again. */
  isLeft(client: pg.ClientBase): boolean;
  /**
   * In: a connection on which something was refused because the server only reads. Out: whether that is how the server is now, and was not
   * when the connection was made; then all connections to it are left. A transaction may have been told only to read.
   */
  turned(client: pg.PoolClient, error: unknown): Promise<boolean>;
  /** See `Database.beforeServing`. */
  beforeServing(check: (on: Queryable) => Promise<void>): () => void;
  /** Ends all without a word to the server. */
  cutAll(): void;
}

export function createConnections(options: ConnectionsOptions): Connections {
  const { address, connection, maxMessageBytes, onError, isClosing, answer, queryOn } = options;
  const hosts = createHosts(address);
  const dialMs = address.connectTimeoutMs ?? (address.hosts.length > 1 ? connectTimeoutOfManyMs : connectTimeoutMs);
  const clients = new Set<pg.PoolClient>();
  const sessions = new WeakMap<pg.ClientBase, Session>();
  /** Where each connection leads. */
  const places = new WeakMap<pg.ClientBase, PostgresHost>();
  /** Connections to servers that are not what they were when they were made. */
  const left = new WeakSet<pg.ClientBase>();
  /** What failed because of the host that it was asked of. */
  const ofHost = new WeakSet<object>();
  const checks = new Set<(on: Queryable) => Promise<void>>();
  /** The server on which they found nothing that they have not dealt with. */
  let checkedServer: string | undefined;

  function openPool(size: { max: number; min?: number }, sessionLimits: SessionLimits): pg.Pool {
    const made = new pg.Pool({
      ...connection,
      ...size,
      types: rowTypes,
      Client: dialing(clientWithLimit(maxMessageBytes)),
      onConnect: (client) => pin(client as pg.Client, sessionLimits),
    });
    // A pool that is being closed loses its connections; that is nothing to report.
    made.on("error", (error) => {
      if (!isClosing()) onError(error);
    });
    made.on("connect", (client) => {
      clients.add(client);
      // The pool hands a connection on within the event that brings its last answer, and what broke it may come in that same event,
      // before whoever gets it can listen. Without any listener such an error would end the process.
      client.on("error", () => undefined);
    });
    made.on("remove", (client) => clients.delete(client));
    return made;
  }

  function failed(host: PostgresHost, error: unknown): void {
    if (!hosts.passesOn(error)) return;
    hosts.failed(host, error);
    ofHost.add(error as object);
  }

  /** Connections to these hosts are not used again. */
  function leave(which: (host: PostgresHost) => boolean, how: (client: pg.PoolClient) => void = () => undefined): void {
    for (const client of clients) {
      const host = places.get(client);
      if (host === undefined || !which(host) || left.has(client)) continue;
      left.add(client);
      how(client);
    }
  }

  async function turned(client: pg.PoolClient, error: unknown): Promise<boolean> {
    const host = places.get(client);
    if (!readsOnly(error) || host === undefined || sessions.get(client)?.read_only !== false) return false;
    const now = await answer(client.query("show transaction_read_only")).then(
      ({ rows: [row] }) => (row as { transaction_read_only?: string } | undefined)?.transaction_read_only,
      () => "on",
    );
    if (now === "off") return false;
    failed(host, error);
    leave((each) => each === host);
    return true;
  }

  /** The driver's client, which connects to the host whose turn it is. */
  function dialing(Client: typeof pg.Client): typeof pg.Client {
    return class extends Client {
      readonly #host: PostgresHost;

      constructor(config: pg.ClientConfig) {
        const host = hosts.next();
        super({ ...config, connectionString: host.url, connectionTimeoutMillis: dialMs });
        this.#host = host;
        places.set(this, host);
      }

      override connect(): Promise<pg.Client>;
      override connect(callback: (error: Error) => void): void;
      override connect(callback?: (error: Error) => void): unknown {
        if (callback === undefined) return super.connect();
        return super.connect((error: Error) => {
          if (error) failed(this.#host, error);
          callback(error);
        });
      }
    };
  }

  async function pin(client: pg.Client, sessionLimits: SessionLimits): Promise<void> {
    const { processID: processId } = client as unknown as { processID: number };
    const host = places.get(client) as PostgresHost;
    const asked = client.query<SessionRow>(pinningIfDirect(processId, sessionLimits));
    try {
      const [row] = (await within(dialMs, asked)).rows;
      if (row === undefined) throw new Error("the database did not say which session this is");
      const objection = hosts.unwanted(row);
      if (objection !== undefined)
        throw new UnwantedServer(`${objection}, and target_session_attrs is ${address.target}`);
      // A standby that is promoted was not started anew.
      const server = `${row.server} ${row.standby}`;
      if (server !== checkedServer) {
        const on: Queryable = { query: (sql, params) => queryOn(client, sql, params) };
        for (const check of checks) await within(connectTimeoutMs, check(on));
        checkedServer = server;
      }
      sessions.set(client, { ...row, processId });
    } catch (error) {
      failed(host, error);
      throw error;
    }
    // There is one server that takes writes. What is still asked of the one before would wait until its time is over.
    if (hosts.reached(host)) leave((each) => each !== host, cut);
    // What is asked before the last is answered goes out at once; see `Transaction`.
    (client as { pipeline: boolean }).pipeline = true;
  }

  async function connect(from: pg.Pool): Promise<pg.PoolClient> {
    for (let attempt = 1; ; ) {
      try {
        const client = await from.connect();
        if (!left.has(client)) return client;
        client.release(true);
      } catch (error) {
        const { cause } = error as { cause?: unknown };
        if (![error, cause].some((each) => ofHost.has(each as object))) throw thrownByDriver(error);
        if (attempt++ >= hosts.attempts) throw thrownByDriver(hosts.error(error));
      }
    }
  }

  return {
    hosts,
    dialMs,
    openPool,
    connect,
    session: (client) => sessions.get(client),
    isLeft: (client) => left.has(client),
    turned,
    beforeServing(check) {
      checks.add(check);
      checkedServer = undefined;
      return () => void checks.delete(check);
    },
    cutAll() {
      for (const client of clients) cut(client);
    },
  };
}
