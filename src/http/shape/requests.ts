import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "pino";
import type { Shares } from "../../database/shares.js";
import { PerchError } from "../../errors.js";
import type { Identity } from "../../identity/identity.js";
import type { TokenIdentity } from "../../identity/tokens.js";
import type { Counts } from "../../lib/counts.js";
import type { Account } from "../../lib/ledger.js";
import type { NotificationHub } from "../../notifications/hub.js";
import { readHandle } from "../../shapes/handle.js";
import { createSlowFilters, type SlowFilter } from "../../shapes/slow-filters.js";
import { createShapeWaiters, type WaitingReaders } from "../../shapes/waiters.js";
import { createAnswerRoom, type Waited } from "../answer-room.js";
import type { Answer } from "../answers.js";
import { hasGone, whenGone } from "../gone.js";
import type { OnBehalf } from "../on-behalf.js";
import type { Readiness } from "../readiness.js";
import { tokenOf } from "../requests.js";
import type { HttpSettings } from "../settings.js";
import { failedAnswer } from "./answers.js";
import { createDevelopment, developer } from "./development.js";
import { openEventWriter } from "./events.js";
import { createReadAhead } from "./read-ahead.js";
import { createShapeReading } from "./reading.js";
import { type ShapeRequest, tableOf } from "./request.js";
import { type ShapeCaller, serveShape, shapeFailure } from "./serve.js";

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
}

/** A request of the shape protocol. */
export interface ShapeExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: URL;
  readonly address: string;
  readonly account: Account;
  /** What is done when the answer is counted. */
  readonly ends: (() => void)[];
  readonly waited: Waited;
  identify(): Promise<TokenIdentity>;
  /** Of a POST. */
  body?(): Promise<string>;
}

/** Shapes over HTTP. Whatever happens is answered in the protocol's own form, but for faults of the server. */
export interface ShapeRequests {
  /** The token of a request. In development mode, where it is a plain user id, clients that were given none are one user. */
  tokenOf(request: IncomingMessage, target: URL): string;
  /** GET, HEAD and POST of /v1/shape. Out: undefined when it goes on by itself. */
  answer(exchange: ShapeExchange): Promise<Answer | undefined>;
  /** DELETE of /v1/shape: all shapes of a table begin anew. In development mode alone. */
  forget(exchange: ShapeExchange): Promise<Answer>;
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
  const waiters = createShapeWaiters({
    db: shares.worker,
    notifications,
    log,
    intervalMs: settings.streamIntervalMs,
    pollMs: settings.recheckMs,
  });
  const slow = createSlowFilters();
  const reading = createShapeReading(shares, onBehalf, settings, development, slow);
  const ahead = createReadAhead();
  const serving = { reading, ahead, waiters, settings, log };
  const asking = new Set<AbortController>();
  let stopping = false;
  let streams = 0;

  /** A place among the connections of the node, the address and the user, given back when the response is over. */
  function takeStream(response: ServerResponse, address: string, { userId }: Identity): boolean {
    // Whoever has gone would never give it back.
    if (stopping || hasGone(response) || streams >= settings.maxStreams || !addresses.take(address)) return false;
    if (!users.take(userId)) {
      addresses.give(address);
      return false;
    }
    streams += 1;
    whenGone(response, () => {
      streams -= 1;
      addresses.give(address);
      users.give(userId);
    });
    return true;
  }

  /** Once more where the table only had to be made ready for whoever asks, as development mode does. */
  async function serve(caller: ShapeCaller): Promise<Answer | undefined> {
    for (let tries = development === undefined ? 0 : maxPrepared; ; tries -= 1) {
      try {
        return await serveShape(serving, caller);
      } catch (error) {
        if (!(error instanceof PerchError && error.code === "PE404")) throw error;
        // It says which table: of a filter's sub-select, too.
        const { schema, table } = (error.detail ?? {}) as { schema?: unknown; table?: unknown };
        const named =
          typeof schema === "string" && typeof table === "string"
            ? { schema, table }
            : tableOf(caller.target.searchParams.get("table") ?? undefined);
        if (tries === 0 || !(await development?.prepare(caller.identity, named))) throw error;
      }
    }
  }

  return {
    tokenOf(request, target) {
      const token = tokenOf(request, target);
      return token === "" && settings.development ? developer : token;
    },
    async answer({ request, response, target, address, account, ends, waited, identify, body }) {
      const gone = new AbortController();
      const room = createAnswerRoom(account, gone.signal, waited);
      ends.push(room.rest);
      asking.add(gone);
      whenGone(response, () => {
        asking.delete(gone);
        gone.abort();
      });
      try {
        const identity = await identify();
        const answer = await serve({
          identity,
          target,
          signal: gone.signal,
          waits: request.method === "GET",
          body: await body?.(),
          reserve: room.take,
          async spare(bytes) {
            // What the user does meanwhile is not to wait for it.
            return account.fits(3 * bytes) && !gone.signal.aborted && !stopping ? account.reserve(bytes) : undefined;
          },
          rest: room.rest,
          stream: (headers) =>
            takeStream(response, address, identity)
              ? openEventWriter(response, headers, account, settings.slowReaderMs)
              : undefined,
        });
        return answer && unlessKnown(answer, request.headers["if-none-match"]);
      } catch (error) {
        return shapeFailure(error);
      }
    },
    async forget({ target, identify }) {
      if (development === undefined) return failedAnswer(405, "shapes are deleted in development mode alone");
      try {
        await identify();
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
      for (const gone of asking) gone.abort();
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
