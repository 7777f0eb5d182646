export interface DatabaseOptions {
  /** `postgres://…`, `pglite:FOLDER` or `memory:`. */
  url?: string;
  /** Where to LISTEN, when `url` goes through a transaction-pooling proxy. */
  listenUrl?: string;
  /**
   * Whether connections to Postgres keep perch's own statements prepared, which takes some 0.1 ms off each call. Only for a URL that leads
   * to Postgres itself or to a proxy that knows prepared statements; false when not given.
   */
  prepare?: boolean;
  /** Connections to Postgres at most; 10 when not given. */
  poolSize?: number;
  /** How long a statement on Postgres may take; the server ends it, and otherwise its connection counts as lost. Unlimited when not given. */
  queryTimeoutMs?: number;
  /** How long a transaction on Postgres may ask nothing before the server ends it; as the login has it when not given. */
  idleTransactionMs?: number;
  /** A message of Postgres over so many bytes ends its connection, with an error; 256 MiB when not given, 500 MiB at most. */
  maxMessageBytes?: number;
  /** What pg_stat_activity shows; "perch" when not given. */
  applicationName?: string;
  /** A folder for the embedded database (PGlite), instead of `url`. */
  dataDir?: string;
  /**
   * Whether an embedded database is brought up to date when it is opened; true when not given. A server never is: there a DBA decides,
   * with `perch migrate up` or `migrate(db)`.
   */
  migrate?: boolean;
  /**
   * Whether an embedded database that a running `perch start` has open is reached through that process; true when not given. When false
   * it is refused.
   */
  share?: boolean;
  /** Told of errors nobody waits for; a process warning when not given. */
  onError?: (error: Error) => void;
}

/** What only perch's own commands say. */
export interface OpenOptions extends DatabaseOptions {
  /** This process will let others into the embedded database. */
  serves?: boolean;
  /** An embedded database that is made is made migrated, as with `migrate`; one that is there is left as it is. */
  begin?: "migrated";
}
