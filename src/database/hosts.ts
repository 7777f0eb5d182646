import { sqlStateOf, troubleOf } from "./errors.js";
import type { PostgresHost, PostgresUrl, Target } from "./postgres-url.js";

/** What a session says of the server that it is on. */
export interface Role {
  /** It follows another server. */
  readonly standby: boolean;
  /** Transactions only read, unless they say otherwise. */
  readonly read_only: boolean;
}

/** A server that answers, and is not what the URL asks for. */
export class UnwantedServer extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UnwantedServer";
  }
}

/** None of the hosts of a URL can be used; as with one that is away, the same again may succeed in a while. */
export class NoHost extends Error {
  constructor(reasons: readonly string[], cause: unknown) {
    super(`none of the hosts can be used: ${reasons.join("; ")}`, { cause });
    this.name = "NoHost";
  }
}

export interface Hosts {
  /** So many attempts, one after the other, have tried all of them. */
  readonly attempts: number;
  /** Which one the next connection is to be made to. */
  next(): PostgresHost;
  /** Why a server is not wanted; undefined when it is. */
  unwanted(role: Role): string | undefined;
  /** A connection was made, and is wanted. Out: whether the one server that takes writes was another one until now. */
  reached(host: PostgresHost): boolean;
  /** None could be made, or it was not wanted, or is not any more: the next goes elsewhere. */
  failed(host: PostgresHost, error: unknown): void;
  /** Whether another host may do where one failed with this. */
  passesOn(error: unknown): boolean;
  /** What to say when all have failed, the last with this. */
  error(last: unknown): unknown;
}

/** A host that failed is no first choice for so long; then, for connections that choose at random, it is like the others. */
const forgottenMs = 10_000;

/** Of each target: why a server with this role is not wanted. */
const objections: Readonly<Record<Exclude<Target, "prefer-standby">, (role: Role) => string | undefined>> = {
  any: () => undefined,
  "read-write": ({ standby, read_only }) => (standby ? "it is a standby" : read_only ? "it only reads" : undefined),
  "read-only": ({ standby, read_only }) => (standby || read_only ? undefined : "it takes writes"),
  primary: ({ standby }) => (standby ? "it is a standby" : undefined),
  standby: ({ standby }) => (standby ? undefined : "it is no standby"),
};

/**
 * Which of the hosts of a URL is tried next: the last that served, and after a failure the one behind it. All connections of a process share
 * it, so when a server is gone one of them finds the next, and the others follow. A failure counts only when it is of the host that is
 * first choice: of ten connections that break at once, the first moves on, and the other nine find it moved.
 */
export function createHosts(url: PostgresUrl, now: () => number = Date.now): Hosts {
  const { hosts, target, balanced } = url;
  const troubles = new Map<PostgresHost, { readonly at: number; readonly reason: string }>();
  let first = 0;
  let served: PostgresHost | undefined;
  /** How many, one after the other, were no standby where one is preferred. */
  let refusals = 0;

  const at = (index: number) => hosts[index % hosts.length] as PostgresHost;
  const failedAt = (host: PostgresHost) => {
    const trouble = troubles.get(host);
    return trouble === undefined || now() - trouble.at > forgottenMs ? Number.NEGATIVE_INFINITY : trouble.at;
  };

  return {
    attempts: target === "prefer-standby" ? hosts.length * 2 : hosts.length,
    next() {
      if (!balanced) return at(first);
      const longest = Math.min(...hosts.map(failedAt));
      const able = hosts.filter((host) => failedAt(host) === longest);
      return able[Math.floor(Math.random() * able.length)] ?? at(first);
    },
    unwanted(role) {
      if (target !== "prefer-standby") return objections[target](role);
      return refusals >= hosts.length ? undefined : objections.standby(role);
    },
    reached(host) {
      const moved = served !== undefined && served !== host && !balanced && /^(read-write|primary)$/.test(target);
      troubles.delete(host);
      first = hosts.indexOf(host);
      served = host;
      refusals = 0;
      return moved;
    },
    failed(host, error) {
      troubles.set(host, { at: now(), reason: reasonOf(error) });
      if (target === "prefer-standby") refusals += 1;
      if (at(first) === host) first = (first + 1) % hosts.length;
    },
    // As libpq does: a server that answers, and refuses, would be refused by the others too, unless it is just not there yet.
    passesOn(error) {
      const state = sqlStateOf(error);
      return state === undefined || /^(57P0[123]|25006)$/.test(state);
    },
    error(last) {
      if (hosts.length === 1 && !(last instanceof UnwantedServer)) return last;
      const reasons = hosts.map((host) => `${host.name}: ${troubles.get(host)?.reason ?? "was not tried"}`);
      return new NoHost(reasons, last);
    },
  };
}

function reasonOf(error: unknown): string {
  // A name with several addresses fails with all of their errors.
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return troubleOf(error) ?? String((error as { message?: unknown } | undefined)?.message ?? error);
}
