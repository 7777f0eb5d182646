import type { Role } from "./hosts.js";

/**
 * What perch depends on in a session, whatever the server, the database or the login have set: how values are written and read, what a
 * statement without a transaction of its own runs in, and that policies bind instead of failing. `client_encoding` is not among them,
 * since the driver names it when it connects; nor is `TimeZone`, on which nothing depends: times are sent and read with their offset.
 */
export const pinnedSettings: Readonly<Record<string, string>> = {
  bytea_output: "hex",
  DateStyle: "ISO",
  IntervalStyle: "postgres",
  extra_float_digits: "1",
  standard_conforming_strings: "on",
  array_nulls: "on",
  row_security: "on",
  default_transaction_isolation: "read committed",
};

/** Limits of the server, in milliseconds; one that is not given is left as the login has it. */
export interface SessionLimits {
  /** After this a statement is ended, its wait for a lock included. */
  readonly statementMs?: number | undefined;
  /** After this a transaction that asks nothing is ended, as one is whose process, or its network, is gone. */
  readonly idleTransactionMs?: number | undefined;
}

const limitsOf = ({ statementMs, idleTransactionMs }: SessionLimits): [string, number][] => [
  ...(statementMs === undefined ? [] : ([["statement_timeout", statementMs]] as [string, number][])),
  ...(idleTransactionMs === undefined
    ? []
    : ([["idle_in_transaction_session_timeout", idleTransactionMs]] as [string, number][])),
];

/** A limit of the login's own that is lower stays. */
const lowered = (name: string, ms: number) =>
  `least(nullif(extract(epoch from current_setting('${name}')::interval) * 1000, 0), ${ms})::bigint::text`;

/** Begins a transaction. Its isolation is stated, as what the login's default is would decide otherwise. */
export const beginning = "begin isolation level read committed";

/**
 * The same behind a transaction-pooling proxy, where each transaction has another session than the one before, and what is set in a
 * session would be left to strangers: all is set for the transaction. These are no queries, so the isolation may still be changed.
 */
export function beginningPinned(limits: SessionLimits): string {
  const local = [...Object.entries(pinnedSettings), ...limitsOf(limits)].map(
    ([name, value]) => `set local ${name} = '${value}'`,
  );
  return [beginning, ...local].join("; ");
}

/** Sets all of it for the session. */
export const pinning = Object.entries(pinnedSettings)
  .map(([name, value]) => `set ${name} = '${value}'`)
  .join("; ");

export interface SessionRow extends Role {
  /** Whether the connection leads to one session of the server, this one. */
  readonly direct: boolean;
  /** When that began, in seconds by the server's clock, to the microsecond. */
  readonly since: string;
  /** When the server was started: another server, or the same made anew, has another time. */
  readonly server: string;
}

/**
 * The first statement on a connection: tells whether it leads to one session, and then sets all of it there. A server says on connecting
 * the number of the process that serves the session. A proxy that hands out sessions cannot pass on one of these, since the number is
 * what a request to cancel names: it makes numbers up. So if it is that of the process that answers, there is no such proxy.
 * In: the number. One statement, so that behind a proxy it is its own transaction, and leaves nothing behind.
 */
export function pinningIfDirect(processId: number, limits: SessionLimits): string {
  const set = [
    ...Object.entries(pinnedSettings).map(([name, value]) => [name, `'${value}'`] as const),
    ...limitsOf(limits).map(([name, ms]) => [name, lowered(name, ms)] as const),
  ].map(([name, value]) => `set_config('${name}', ${value}, not s.direct)`);
  return `
    select s.direct, s.since, extract(epoch from pg_postmaster_start_time())::text as server, pg_is_in_recovery() as standby,
           current_setting('transaction_read_only')::boolean as read_only, ${set.join(", ")}
      from (select pg_backend_pid() = ${processId} as direct,
                   (select extract(epoch from a.backend_start)::text from pg_stat_get_activity(pg_backend_pid()) a) as since) s`;
}
