import { randomUUID } from "node:crypto";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Logger } from "pino";
import { meaningOf } from "../database/errors.js";
import type { Shares } from "../database/shares.js";
import type { Standbys } from "../database/standbys.js";
import type { Database } from "../database/types.js";
import type { LiveDocuments } from "../documents/live.js";
import type { TokenIdentity, VerifyToken } from "../identity/tokens.js";
import { type Counts, createCounts } from "../lib/counts.js";
import type { Ledger } from "../lib/ledger.js";
import type { NotificationHub } from "../notifications/hub.js";
import { type Answer, createAnswers } from "./answers.js";
import { call } from "./calls.js";
import { createConsolePage } from "./console/page.js";
import { type ConsoleServices, createConsoleRequests } from "./console/requests.js";
import { consoleQuery } from "./console/views.js";
import { addDatabaseFigures } from "./database-figures.js";
import { createDocumentRequests, documentParts, documentQuery, historyQuery } from "./document-requests.js";
import { close, type Exchange, openExchange, takeRoom, waits } from "./exchange.js";
import { createOnBehalf } from "./on-behalf.js";
import { openApiDocument } from "./openapi.js";
import { type Match, type OperationName, operationsAt } from "./operations.js";
import { type Problem, problem, problemBody, problemOf, RequestRefused, tooMuchHeld } from "./problems.js";
import { createReaderRequests } from "./reader.js";
import type { Readiness } from "./readiness.js";
import { addressOfClient, admit, admittedTarget, readBody, tokenOf } from "./requests.js";
import type { HttpSettings } from "./settings.js";
import { shapeHeaders } from "./shape/answers.js";
import { createShapeRequests } from "./shape/requests.js";
import { queryOf } from "./shapes.js";
import { createSpaceRequests, spacesQuery } from "./spaces.js";
import { addStandbyFigures } from "./standby-figures.js";
import { selectionOf, streamQuery } from "./streams/page.js";
import { createStreams } from "./streams/streams.js";
import type { Telemetry } from "./telemetry.js";
import { createWithheld } from "./withheld.js";

export interface HttpServices {
  readonly db: Database;
  readonly shares: Shares;
  readonly standbys?: Standbys | undefined;
  readonly live: LiveDocuments;
  readonly settings: HttpSettings;
  readonly log: Logger;
  readonly verifyToken: VerifyToken;
  readonly telemetry: Telemetry;
  readonly readiness: Readiness;
  /** What the process hears of the database. */
  readonly notifications: Pick<NotificationHub, "add">;
  /** Connections of each address and of each user. */
  readonly addresses: Counts;
  readonly users: Counts;
  readonly ledger: Ledger;
  /** What perch doctor says, for the console. */
  readonly doctor?: ConsoleServices["doctor"];
  /** Who has a document open on this node, for the console. */
  readonly usersIn: ConsoleServices["usersIn"];
  /** The port that everybody reaches. */
  port(): number;
  /** Whether the gateway is shutting down. */
  isDraining(): boolean;
  /** Why perch cannot serve now, beyond the database; undefined when it can. */
  notReady(): string | undefined;
}

export interface HttpHandler {
  /** Answers a request. Never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** To be called often. */
  tick(now: number): void;
  /** Ends the streams, and has their clients come back. */
  close(): void;
}

/** What a question may be: most of it is a cursor, with the names of some thousands of spaces. Reading more would hold everybody up in vain. */
const questionBytes = 1024 * 1024;

/** What says which rows of a shape are wanted may be: it is read here as a whole, values and all. */
const subsetBytes = 256 * 1024;

/** What says how a space is to be may be: it is ids and a few words. */
const wishBytes = 64 * 1024;

/** Answers the gateway's HTTP requests. */
export function createHttpHandler(services: HttpServices): HttpHandler {
  const { db, settings, log, verifyToken, telemetry } = services;
  const { readiness } = services;
  const withheld = createWithheld(telemetry.withheld, log);
  const streams = createStreams({ ...services, withheld, onEnded: telemetry.streamEnded });
  telemetry.watchStreams(streams);
  const onBehalf = createOnBehalf(services.shares, settings.lockWaitMs, services.standbys);
  const documents = createDocumentRequests({ ...services, onBehalf });
  const spaces = createSpaceRequests(onBehalf);
  const shapes = createShapeRequests({ ...services, onBehalf, headersOf: commonHeaders, finish, goOn });
  const readers = createReaderRequests({ ...services, onBehalf, answerBytes, finish, goOn });

  const answers = createAnswers(settings.slowReaderMs);
  const underWay = createCounts(settings.maxRequestsPerUser);

  async function identify(exchange: Exchange, token = tokenOf(exchange.request)): Promise<TokenIdentity> {
    const { account } = exchange;
    const identity = await verifyToken(token);
    const { userId } = identity;
    exchange.userId = userId;
    if (!underWay.take(userId)) {
      const message = "too many of your requests wait already";
      throw new RequestRefused(
        problem(429, "too_many_requests", message, {
          limit: "max_requests_per_user",
          max: settings.maxRequestsPerUser,
        }),
      );
    }
    exchange.isCounted = true;
    account.become(identity.userId);
    if (!account.fits(0)) throw tooMuchHeld();
    return identity;
  }

  const bodyOf = ({ request, account }: Exchange, limit = settings.maxBodyBytes) =>
    readBody(request, limit, (bytes) => {
      if (!account.fits(bytes)) throw tooMuchHeld();
      account.add(bytes);
    });

  /** Asks for an answer that may be long, when there is room for it in the user's share. */
  async function reserving(exchange: Exchange, ask: () => Promise<string>, bytes = answerBytes): Promise<string> {
    await takeRoom(exchange, bytes);
    return ask();
  }

  const identifyForShape = (exchange: Exchange) => identify(exchange, shapes.tokenOf(exchange.request));

  const callWith = async (name: "push" | "pull" | "snapshot", exchange: Exchange): Promise<Answer> => {
    const identity = await identify(exchange);
    const body = await bodyOf(
      exchange,
      name === "push" ? settings.maxBodyBytes : Math.min(settings.maxBodyBytes, questionBytes),
    );
    const since = performance.now();
    const bytes = name === "push" ? Math.min(answerBytes, body.length * resultBytesPerByte) : answerBytes;
    return json(await reserving(exchange, () => call(onBehalf, name, body, identity, withheld, since), bytes));
  };

  const figures = addDatabaseFigures(telemetry.metrics, db.aside, log);
  const { standbys } = services;
  const refreshLags = addStandbyFigures(telemetry.metrics, standbys);
  const refresh = () => Promise.all([figures.refresh(), refreshLags()]);
  let openApi: string | undefined;
  const page = createConsolePage();
  const consoleRequests = createConsoleRequests({
    ...services,
    async figures() {
      await refresh();
      return telemetry.metrics.text();
    },
    shapes: () => shapes.seen(),
  });

  /** Undefined when the response has been begun, and goes on by itself; `waits` when it is finished later. */
  const handlers: Record<OperationName, (exchange: Exchange, parts: Match["parts"]) => Promise<Outcome>> = {
    push: (exchange) => callWith("push", exchange),
    pull: (exchange) => callWith("pull", exchange),
    snapshot: (exchange) => callWith("snapshot", exchange),
    changes: stream,
    async readLog(exchange) {
      const identity = await identify(exchange);
      const body = await bodyOf(exchange, Math.min(settings.maxBodyBytes, wishBytes));
      return readers.read(exchange, identity, body);
    },
    async readLogSnapshot(exchange) {
      const identity = await identify(exchange);
      const body = await bodyOf(exchange, Math.min(settings.maxBodyBytes, wishBytes));
      return json(await reserving(exchange, () => readers.snapshot(identity, body)));
    },
    async readDocument(exchange, parts) {
      const identity = await identify(exchange);
      const { seq } = queryOf(admittedTarget(exchange.request), documentQuery);
      return json(await reserving(exchange, () => documents.read(identity, documentParts(parts), seq)));
    },
    async patchDocument(exchange, parts) {
      const identity = await identify(exchange);
      const body = await bodyOf(exchange);
      const patched = await documents.patch(identity, documentParts(parts), body);
      return { status: patched.status === "merged" ? 200 : 202, body: JSON.stringify(patched) };
    },
    async documentHistory(exchange, parts) {
      const identity = await identify(exchange);
      const page = queryOf(admittedTarget(exchange.request), historyQuery);
      return json(await reserving(exchange, () => documents.history(identity, documentParts(parts), page)));
    },
    async listSpaces(exchange) {
      const identity = await identify(exchange);
      const page = queryOf(admittedTarget(exchange.request), spacesQuery);
      return json(await reserving(exchange, () => spaces.list(identity, page)));
    },
    async createSpace(exchange) {
      const identity = await identify(exchange);
      return json(await spaces.create(identity, await bodyOf(exchange, Math.min(settings.maxBodyBytes, wishBytes))));
    },
    async readSpace(exchange, { space = "" }) {
      const identity = await identify(exchange);
      const page = queryOf(admittedTarget(exchange.request), spacesQuery);
      return json(await reserving(exchange, () => spaces.read(identity, space, page)));
    },
    async setMember(exchange, { space = "", user = "" }) {
      const identity = await identify(exchange);
      return json(
        await spaces.setMember(
          identity,
          space,
          user,
          await bodyOf(exchange, Math.min(settings.maxBodyBytes, wishBytes)),
        ),
      );
    },
    async removeMember(exchange, { space = "", user = "" }) {
      return json(await spaces.removeMember(await identify(exchange), space, user));
    },
    async invite(exchange, { space = "" }) {
      const identity = await identify(exchange);
      return json(
        await spaces.invite(identity, space, await bodyOf(exchange, Math.min(settings.maxBodyBytes, wishBytes))),
      );
    },
    async revokeInvitations(exchange, { space = "" }) {
      return json(await spaces.revoke(await identify(exchange), space, null));
    },
    async revokeInvitation(exchange, { space = "", invitation = "" }) {
      return json(await spaces.revoke(await identify(exchange), space, invitation));
    },
    async acceptInvitation(exchange) {
      const identity = await identify(exchange);
      return json(await spaces.accept(identity, await bodyOf(exchange, Math.min(settings.maxBodyBytes, wishBytes))));
    },
    shape: (exchange) => shapes.answer(exchange, identifyForShape),
    shapeSubset: (exchange) =>
      shapes.answer(exchange, identifyForShape, () => bodyOf(exchange, Math.min(settings.maxBodyBytes, subsetBytes))),
    forgetShape: (exchange) => shapes.forget(exchange, identifyForShape),
    shapeHealth: () => shapes.health(),
    consoleSession: async () => json(JSON.stringify({ sign_in: settings.development ? "none" : "token" })),
    async consoleView(exchange, { name = "" }) {
      const identity = await identify(exchange);
      const question = queryOf(admittedTarget(exchange.request), consoleQuery);
      return json(await reserving(exchange, () => consoleRequests.view(identity, name, question)));
    },
    async consoleAction(exchange, { name = "" }) {
      const identity = await identify(exchange);
      return json(await consoleRequests.act(identity, name, await bodyOf(exchange)));
    },
    openapi: async () => {
      openApi ??= openApiDocument();
      return json(openApi);
    },
    healthz: async () => json('{"status":"ok"}'),
    readyz,
    async metrics({ request }) {
      if (settings.metricsPort !== undefined && request.socket.localPort === services.port()) {
        return failed(
          problem(404, "not_found", "the figures are on a port of their own", null, "Ask at PERCH_METRICS_PORT."),
        );
      }
      await refresh();
      const headers = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
      return { status: 200, body: telemetry.metrics.text(), headers };
    },
  };

  async function readyz(): Promise<Answer> {
    const reason = services.isDraining() ? "shutting down" : (services.notReady() ?? (await readiness.trouble()));
    return reason === undefined ? json('{"status":"ready"}') : failed(problem(503, "unavailable", reason));
  }

  async function stream(exchange: Exchange): Promise<Answer | undefined> {
    const { request, response, requestId, account } = exchange;
    const identity = await identify(exchange);
    const seen = request.headers["last-event-id"];
    const { selection, cursor } = selectionOf(
      queryOf(admittedTarget(request), streamQuery),
      seen === undefined ? undefined : String(seen),
    );
    if (request.method === "HEAD") return { status: 200, body: "", headers: { "content-type": "text/event-stream" } };
    const address = addressOfClient(request, settings);
    const opened = await streams.open({
      ...{ response, identity, address, selection, cursor, requestId, account },
      headers: commonHeaders(exchange),
    });
    return opened === "open"
      ? undefined
      : failed(
          problem(
            429,
            "too_many_requests",
            "too many sockets and streams are open: of yours, of your address or of this node; close some, or come again",
          ),
        );
  }

  async function consoleFile({ request }: Exchange, pathname: string): Promise<Answer> {
    if (request.method !== "GET" && request.method !== "HEAD") {
      return { ...failed(problem(405, "method_not_allowed", "use GET")), headers: { allow: "GET" } };
    }
    // By a relative path, so that it holds behind a proxy that puts something in front.
    if (pathname === "/console") return { status: 308, body: "", headers: { location: "console/" } };
    const file = await page.file(pathname.slice("/console/".length));
    if (file !== undefined) {
      const isKnown = request.headers["if-none-match"] === file.headers?.etag;
      return isKnown ? { ...file, status: 304, body: "" } : file;
    }
    const isBuilt = pathname !== "/console/";
    return failed(
      problem(
        404,
        "not_found",
        isBuilt ? "there is nothing at this path" : "the console was not built",
        null,
        isBuilt ? "The console's page is at /console/." : "Run npm run build in the checkout.",
      ),
    );
  }

  async function answer(exchange: Exchange, pathname: string): Promise<Outcome> {
    const { request } = exchange;
    if (pathname === "/sync") {
      exchange.path = pathname;
      const refusal = failed(
        problem(
          426,
          "upgrade_required",
          "this is a WebSocket, for Loro clients; over plain HTTP documents are under /v1/documents",
        ),
      );
      return { ...refusal, headers: { upgrade: "websocket" } };
    }
    const onlyMetrics = request.socket.localPort !== services.port();
    const isHere = (name: OperationName) =>
      onlyMetrics ? name === "metrics" : settings.console === "on" || !name.startsWith("console");
    const matches = operationsAt(pathname).filter(({ name }) => isHere(name));
    if (/^\/console(\/|$)/.test(pathname) && settings.console === "on" && !onlyMetrics) {
      exchange.path = "/console/";
      return consoleFile(exchange, pathname);
    }
    const path = matches[0]?.operation.path;
    // What a person opens who was told nothing but the address: programs are answered as anywhere. Not for good: another server may have that port
    // tomorrow.
    const isBrowser = request.method === "GET" && /\btext\/html\b/.test(request.headers.accept ?? "");
    if (pathname === "/" && isBrowser && settings.console === "on" && !onlyMetrics) {
      exchange.path = pathname;
      return { status: 302, body: "", headers: { location: "console/" } };
    }
    if (path === undefined)
      return failed(
        problem(404, "not_found", "there is nothing at this path", null, "GET /openapi.json says what there is."),
      );
    exchange.path = path;
    const method = request.method === "HEAD" ? "GET" : request.method;
    const match = matches.find(({ operation }) => operation.method === method);
    if (match === undefined) {
      const allowed = matches.map(({ operation }) => operation.method).join(", ");
      const refusal = failed(problem(405, "method_not_allowed", `this path takes ${allowed}`));
      return { ...refusal, headers: { allow: allowed } };
    }
    try {
      const outcome = await handlers[match.name](exchange, match.parts);
      if (match.name === "push") readiness.wrote();
      return outcome;
    } catch (error) {
      return failureOf(exchange, error);
    }
  }

  /** The answer to a request that failed, which is noted where somebody has to look. */
  function failureOf({ requestId }: Exchange, error: unknown): Answer {
    const failure = problemOf(error);
    readiness.writeFailed(error);
    const details = { err: error, requestId };
    if (failure.status >= 500)
      log.error(
        details,
        "a request failed in the server; its client was told to try again, or to look here by its X-Request-Id",
      );
    else if (meaningOf(error) === "rule")
      log.warn(
        details,
        "a constraint or trigger of this database refused what a request wrote; the client was not shown its message",
      );
    return failed(failure);
  }

  /** What every answer has, unless it says otherwise. */
  function commonHeaders({ request, requestId, isAdmitted }: Exchange): OutgoingHttpHeaders {
    const { origin } = request.headers;
    return {
      "x-request-id": requestId,
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      ...(origin !== undefined && {
        ...(isAdmitted && { "access-control-allow-origin": origin, "access-control-expose-headers": exposed }),
        vary: "origin",
      }),
    };
  }

  async function handle(exchange: Exchange): Promise<void> {
    const { request } = exchange;
    const { target, refused } = admit(request, settings);
    exchange.isAdmitted = refused === undefined;
    let outcome: Outcome;
    if (refused !== undefined) outcome = failed(refused);
    else if (request.method === "OPTIONS") outcome = { status: 204, body: "", headers: preflight };
    else outcome = await answer(exchange, target.pathname);
    if (outcome !== waits) finish(exchange, outcome);
  }

  /** Does more for a request that has waited, and answers it when that comes to an answer. */
  function goOn(exchange: Exchange, work: () => Promise<Outcome>): void {
    work()
      .catch((error: unknown) => failureOf(exchange, error))
      .then((outcome) => {
        if (outcome !== waits) finish(exchange, outcome);
      })
      .catch((error: unknown) => lost(exchange, error));
  }

  function lost(exchange: Exchange, error: unknown): void {
    log.error({ err: error }, "a request could not be answered");
    release(exchange);
    exchange.response.destroy();
  }

  /** Gives back what is taken while a request is worked on, or waits. */
  function release(exchange: Exchange): void {
    if (exchange.isCounted && exchange.userId !== undefined) underWay.give(exchange.userId);
    exchange.isCounted = false;
    close(exchange);
  }

  /** Sends the answer to a request; undefined where that goes on by itself, or nobody waits for it. */
  function finish(exchange: Exchange, result: Answer | undefined): void {
    const { request, response, requestId, path, userId } = exchange;
    if (result !== undefined) exchange.account.add(result.body.length);
    release(exchange);
    const status = result?.status ?? response.statusCode;
    if (result !== undefined) {
      // What was not read of the body would be taken for the next request.
      const ends = (!request.complete || services.isDraining()) && { connection: "close" };
      answers.send(response, { ...result, headers: { ...commonHeaders(exchange), ...ends, ...result.headers } });
    }
    const ms = performance.now() - exchange.startedAt;
    telemetry.answered(path, status, result && (ms - exchange.waitedMs) / 1000);
    // A path that is none of perch's may say anything. Who develops wants to see what was mistyped.
    const isUnknown = settings.development && path === "other" && exchange.isAdmitted;
    const shown = isUnknown ? admittedTarget(request).pathname.slice(0, 200) : path;
    const line = {
      requestId,
      method: request.method,
      path: shown,
      status,
      ms: Math.round(ms),
      ...(userId && { userId }),
    };
    if (quiet.has(path)) log.debug(line, "request");
    else log.info(line, "request");
  }

  return {
    handle(request, response) {
      const named = String(request.headers["x-request-id"] ?? "");
      const requestId = /^[\w.:-]{1,100}$/.test(named) ? named : randomUUID();
      const exchange = openExchange(request, response, requestId, services.ledger);
      handle(exchange).catch((error: unknown) => lost(exchange, error));
    },
    tick: answers.tick,
    close() {
      streams.close();
      documents.close();
      shapes.close();
      readers.close();
    },
  };
}

/** What is to be answered now, where that does not go on by itself; or it waits. */
type Outcome = Answer | undefined | typeof waits;

/** What is asked every few seconds, by machines. */
const quiet: ReadonlySet<string> = new Set(["/healthz", "/readyz", "/metrics", "/console/", "/v1/console/{name}"]);

/** What an answer is taken for until it is there: a page of the log is at most this long. */
const answerBytes = 16 * 1024 * 1024;

/** A change is 32 bytes and more, and its result, of a call, 64 kB at most: what many short pushes may answer is no reason for them to wait. */
const resultBytesPerByte = 2_048;

const exposed = ["x-request-id", "retry-after", ...shapeHeaders].join(", ");

const preflight = {
  "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
  "access-control-allow-headers": "authorization, content-type, last-event-id, x-request-id",
  "access-control-max-age": "600",
};

function json(body: string): Answer {
  return { status: 200, body };
}

function failed(failure: Problem): Answer {
  const headers = failure.status === 503 || failure.status === 429 ? { "retry-after": "1" } : {};
  return { status: failure.status, body: problemBody(failure), headers };
}
