import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import type { Logger } from "pino";
import type { Shares } from "../../database/shares.js";
import { PerchError } from "../../errors.js";
import type { TokenIdentity } from "../../identity/tokens.js";
import type { Counts } from "../../lib/counts.js";
import type { NotificationHub } from "../../notifications/hub.js";
import { readHandle } from "../../shapes/handle.js";
import { createSlowFilters, type SlowFilter } from "../../shapes/slow-filters.js";
import { createShapeWaiters, type WaitingReaders } from "../../shapes/waiters.js";
import type { Answer } from "../answers.js";
import type { Exchange } from "../exchange.js";
import type { OnBehalf } from "../on-behalf.js";
import type { Readiness } from "../readiness.js";
import { admittedTarget, tokenOf } from "../requests.js";
import type { HttpSettings } from "../settings.js";
import { failedAnswer } from "./answers.js";
import { createShapeChanges } from "./changes.js";
import { createDevelopment, developer } from "./development.js";
import { createEventWriter } from "./events.js";
import { createFollowers, type Follower, type Outcome } from "./follow.js";
import { createStreamPlaces } from "./places.js";
import { createReadAhead } from "./read-ahead.js";
import { createShapeReading } from "./reading.js";
import { type ShapeRequest, tableOf } from "./request.js";
import { createRights } from "./rights.js";
import { inProtocol, type ShapeCaller, serveShape, shapeFailure } from "./serve.js";

export interface ShapeRequestServices {
  readonly shares: Shares;
  readonly onBehalf: OnBehalf;
  readonly settings: HttpSettings;
  readonly log: Logger;
  readonly notifications: Pick<NotificationHub, "add">;
  readonly readiness: Readiness;
  /** Connections of each address and of each user. */
  readonly addresses: Counts;
  readonly users: Counts;
  /** What every answer has. */
  headersOf(exchange: Exchange): OutgoingHttpHeaders;
  /** Does more for a request that has waited, and answers it when that comes to an answer. */
  goOn(exchange: Exchange, work: () => Promise<Outcome>): void;
  /** Nobody waits for an answer to a request any more that has waited. */
  finish(exchange: Exchange, answer: undefined): void;
}

/** Says whose token a request has, and counts it among theirs. */
type Identify = (exchange: Exchange) => Promise<TokenIdentity>;

/** Shapes over HTTP. Whatever happens is answered in the protocol's own form, but for faults of the server. */
export interface ShapeRequests {
  /** The token of a request. In development mode, where it is a plain user id, clients that were given none are one user. */
  tokenOf(request: IncomingMessage): string;
  /** GET, HEAD and POST of /v1/shape. In: what reads the body of a POST. Out: undefined when it went on by itself; `waits` when it is finished later. */
  answer(exchange: Exchange, identify: Identify, body?: () => Promise<string>): Promise<Outcome>;
  /** DELETE of /v1/shape: all shapes of a table begin anew. In development mode alone. */
  forget(exchange: Exchange, identify: Identify): Promise<Answer>;
  /** What this process knows of shapes: who waits for which tables, and whose filters took long. */
  seen(): { readonly readers: readonly WaitingReaders[]; readonly slow: readonly SlowFilter[] };
  /** GET of /v1/health. */
  health(): Promise<Answer>;
  /** Answers those who wait. */
  close(): void;
}

/** Tables of one request that are made ready: its own, and those of its sub-selects. */
const maxPrepared = 5;

export function createShapeRequests(services: ShapeRequestServices): ShapeRequests {
  const { shares, onBehalf, settings, log, notifications, readiness, addresses, users } = services;
  const development = settings.development ? createDevelopment(shares.worker) : undefined;
  const slow = createSlowFilters();
  const reading = createShapeReading(shares, onBehalf, settings, development, slow);
  const ahead = createReadAhead();
  /** Requests that something is under way for. */
  const asking = new Set<Exchange>();
  let stopping = false;
  const isStopping = () => stopping;
  const waiters = createShapeWaiters<Follower>({
    db: shares.worker,
    notifications,
    log,
    intervalMs: settings.streamIntervalMs,
    pollMs: settings.recheckMs,
    woken: (follower, heard) => followers.woken(follower, heard),
  });
  const followers = createFollowers({
    rights: createRights(shares.reads, reading),
    changes: createShapeChanges(reading, settings),
    waiters,
    log,
    settings,
    isStopping,
    places: createStreamPlaces(settings, addresses, users),
    events: createEventWriter(settings.slowReaderMs),
    headersOf: services.headersOf,
    finish: services.finish,
    goOn(exchange, identity, work) {
      const caller = { exchange, identity, body: undefined };
      services.goOn(exchange, () => answerOf(caller, () => inProtocol(exchange, work)));
    },
  });
  const serving = { reading, ahead, followers, settings, isStopping };

  /** Once more, from the beginning, where the table only had to be made ready for whoever asks, as development mode does. */
  async function prepared(caller: ShapeCaller, first: () => Promise<Outcome>): Promise<Outcome> {
    let work = first;
    for (let tries = development === undefined ? 0 : maxPrepared; ; tries -= 1) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof PerchError && error.code === "PE404")) throw error;
        // It says which table: of a filter's sub-select, too.
        const { schema, table } = (error.detail ?? {}) as { schema?: unknown; table?: unknown };
        const named =
          typeof schema === "string" && typeof table === "string"
            ? { schema, table }
            : tableOf(admittedTarget(caller.exchange.request).searchParams.get("table") ?? undefined);
        if (tries === 0 || !(await development?.prepare(caller.identity, named))) throw error;
        work = () => serveShape(serving, caller);
      }
    }
  }

  /** Errors: those that are nobody's fault. */
  async function answerOf(caller: ShapeCaller, work: () => Promise<Outcome>): Promise<Outcome> {
    const { exchange } = caller;
    asking.add(exchange);
    try {
      const outcome = await prepared(caller, work);
      return typeof outcome === "object" ? unlessKnown(outcome, exchange.request.headers["if-none-match"]) : outcome;
    } catch (error) {
      return shapeFailure(error);
    } finally {
      asking.delete(exchange);
    }
  }

  return {
    tokenOf(request) {
      const token = tokenOf(request);
      return token === "" && settings.development ? developer : token;
    },
    async answer(exchange, identify, body) {
      try {
        const identity = await identify(exchange);
        const caller = { exchange, identity, body: await body?.() };
        return await answerOf(caller, () => serveShape(serving, caller));
      } catch (error) {
        return shapeFailure(error);
      }
    },
    async forget(exchange, identify) {
      if (development === undefined) return failedAnswer(405, "shapes are deleted in development mode alone");
      try {
        await identify(exchange);
        const target = admittedTarget(exchange.request);
        const handle = target.searchParams.get("handle") ?? "";
        const named = target.searchParams.get("table");
        const known = development.noted(readHandle(handle)?.definition ?? "");
        const table: Pick<ShapeRequest, "schema" | "table"> | undefined =
          named === null && handle !== "" ? known : tableOf(named ?? undefined);
        return table !== undefined && (await development.forget(table))
          ? { status: 202, body: "{}" }
          : failedAnswer(404, "Shape not found");
      } catch (error) {
        return shapeFailure(error);
      }
    },
    seen: () => ({ readers: waiters.readers(), slow: slow.all() }),
    async health() {
      const active = (await readiness.trouble()) === undefined;
      return { status: active ? 200 : 202, body: `{"status":"${active ? "active" : "waiting"}"}` };
    },
    close() {
      stopping = true;
      for (const { gone } of asking) gone?.abort();
      ahead.close();
      waiters.close();
    },
  };
}

/** In: the etags that a client has. */
function unlessKnown(answer: Answer, etags: string | undefined): Answer {
  const known = etags?.split(",").map((one) => one.trim().replace(/^W\//, "")) ?? [];
  const { etag } = answer.headers ?? {};
  const isKnown = answer.status === 200 && typeof etag === "string" && known.includes(etag);
  return isKnown ? { ...answer, status: 304, body: "" } : answer;
}
