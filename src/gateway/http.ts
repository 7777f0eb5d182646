import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "pino";
import type { Database } from "../database/types.js";
import type { LiveDocuments } from "../documents/live.js";
import { call } from "./calls.js";
import type { Counts } from "./counts.js";
import { addDatabaseFigures } from "./database-figures.js";
import { createDocumentRequests, documentParts, documentQuery, historyQuery } from "./document-requests.js";
import { openApiDocument } from "./openapi.js";
import { type Match, type OperationName, operationsAt } from "./operations.js";
import { type Problem, problem, problemBody, problemOf } from "./problems.js";
import type { Readiness } from "./readiness.js";
import { addressOfClient, isAllowedOrigin, readBody, targetOf, tokenOf } from "./requests.js";
import type { GatewaySettings } from "./settings.js";
import { queryOf } from "./shapes.js";
import type { RingSource } from "./streams/feed.js";
import { selectionOf, streamQuery } from "./streams/page.js";
import { createStreams } from "./streams/streams.js";
import type { Telemetry } from "./telemetry.js";
import type { VerifyToken } from "./tokens.js";

export interface HttpServices {
  readonly db: Database;
  readonly live: LiveDocuments;
  readonly settings: GatewaySettings;
  readonly log: Logger;
  readonly verifyToken: VerifyToken;
  readonly telemetry: Telemetry;
  readonly readiness: Readiness;
  /** Where the database's rings come from. */
  readonly rings: RingSource;
  /** Connections of each address and of each user. */
  readonly addresses: Counts;
  readonly users: Counts;
  /** Whether the gateway is shutting down. */
  isDraining(): boolean;
  /** Why perch cannot serve now, beyond the database; undefined when it can. */
  notReady(): string | undefined;
}

export interface HttpHandler {
  /** Answers a request. Never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** Ends the streams, and has their clients come back. */
  close(): void;
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers?: Record<string, string>;
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: URL;
  readonly requestId: string;
}

/** Answers the gateway's HTTP requests. */
export function createHttpHandler(services: HttpServices): HttpHandler {
  const { db, settings, log, verifyToken, telemetry } = services;
  const { readiness } = services;
  const streams = createStreams({ ...services, onEnded: telemetry.streamEnded });
  telemetry.watchStreams(streams);
  const documents = createDocumentRequests(services);

  const identify = ({ request, target }: Exchange) => verifyToken(tokenOf(request, target));

  const callWith = async (name: "push" | "pull" | "snapshot", exchange: Exchange): Promise<Answer> => {
    const identity = await identify(exchange);
    const { request } = exchange;
    return json(await call(db, name, await readBody(request, settings.maxBodyBytes), identity));
  };

  const figures = addDatabaseFigures(telemetry.metrics, db, log);
  let openApi: string | undefined;

  /** Undefined when the response has been begun, and goes on by itself. */
  const handlers: Record<OperationName, (exchange: Exchange, parts: Match["parts"]) => Promise<Answer | undefined>> = {
    push: (exchange) => callWith("push", exchange),
    pull: (exchange) => callWith("pull", exchange),
    snapshot: (exchange) => callWith("snapshot", exchange),
    changes: stream,
    async readDocument(exchange, parts) {
      const identity = await identify(exchange);
      const { seq } = queryOf(exchange.target, documentQuery);
      return json(await documents.read(identity, documentParts(parts), seq));
    },
    async patchDocument(exchange, parts) {
      const identity = await identify(exchange);
      const body = await readBody(exchange.request, settings.maxBodyBytes);
      const patched = await documents.patch(identity, documentParts(parts), body);
      return { status: patched.status === "merged" ? 200 : 202, body: JSON.stringify(patched) };
    },
    async documentHistory(exchange, parts) {
      const identity = await identify(exchange);
      const page = queryOf(exchange.target, historyQuery);
      return json(await documents.history(identity, documentParts(parts), page));
    },
    openapi: async () => {
      openApi ??= openApiDocument();
      return json(openApi);
    },
    healthz: async () => json('{"status":"ok"}'),
    readyz,
    async metrics() {
      await figures.refresh();
      const headers = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
      return { status: 200, body: telemetry.metrics.text(), headers };
    },
  };

  async function readyz(): Promise<Answer> {
    const reason = services.isDraining() ? "shutting down" : (services.notReady() ?? (await readiness.trouble()));
    return reason === undefined ? json('{"status":"ready"}') : failed(problem(503, "unavailable", reason));
  }

  async function stream(exchange: Exchange): Promise<Answer | undefined> {
    const { request, response, target, requestId } = exchange;
    const identity = await identify(exchange);
    const seen = request.headers["last-event-id"];
    const { selection, cursor } = selectionOf(
      queryOf(target, streamQuery),
      seen === undefined ? undefined : String(seen),
    );
    if (request.method === "HEAD") return { status: 200, body: "", headers: { "content-type": "text/event-stream" } };
    const address = addressOfClient(request, settings);
    const opened = await streams.open({ response, identity, address, selection, cursor, requestId });
    return opened === "open" ? undefined : failed(problem(429, "too_many_requests", "too many connections are open"));
  }

  async function answer(exchange: Exchange): Promise<{ path: string; result: Answer | undefined }> {
    const { pathname } = exchange.target;
    if (pathname === "/sync") {
      const refusal = failed(problem(426, "upgrade_required", "this is a WebSocket"));
      return { path: pathname, result: { ...refusal, headers: { upgrade: "websocket" } } };
    }
    const matches = operationsAt(pathname);
    const path = matches[0]?.operation.path;
    if (path === undefined)
      return { path: "other", result: failed(problem(404, "not_found", "there is nothing here")) };
    const method = exchange.request.method === "HEAD" ? "GET" : exchange.request.method;
    const match = matches.find(({ operation }) => operation.method === method);
    if (match === undefined) {
      const allowed = matches.map(({ operation }) => operation.method).join(", ");
      const refusal = failed(problem(405, "method_not_allowed", `use ${allowed}`));
      return { path, result: { ...refusal, headers: { allow: allowed } } };
    }
    try {
      return { path, result: await handlers[match.name](exchange, match.parts) };
    } catch (error) {
      const failure = problemOf(error);
      readiness.writeFailed(error);
      if (failure.status >= 500) log.error({ err: error, requestId: exchange.requestId }, "a request failed");
      return { path, result: failed(failure) };
    }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const started = performance.now();
    const named = String(request.headers["x-request-id"] ?? "");
    const requestId = /^[\w.:-]{1,100}$/.test(named) ? named : randomUUID();
    response.setHeader("x-request-id", requestId);
    response.setHeader("cache-control", "no-store");
    const { origin } = request.headers;
    const allowed = isAllowedOrigin(origin, settings);
    if (origin !== undefined && allowed) {
      response.setHeader("access-control-allow-origin", origin);
      response.setHeader("access-control-expose-headers", "x-request-id, retry-after");
    }
    if (origin !== undefined) response.setHeader("vary", "origin");
    let path = "other";
    let result: Answer | undefined;
    if (!allowed) result = failed(problem(403, "forbidden", "this origin may not connect"));
    else if (request.method === "OPTIONS") result = { status: 204, body: "", headers: preflight };
    else ({ path, result } = await answer({ request, response, target: targetOf(request), requestId }));
    const status = result?.status ?? response.statusCode;
    if (result !== undefined) send(request, response, result);
    const ms = performance.now() - started;
    telemetry.answered(path, status, ms / 1000);
    log.debug({ requestId, method: request.method, path, status, ms: Math.round(ms) }, "request");
  }

  function send(request: IncomingMessage, response: ServerResponse, { status, body, headers }: Answer): void {
    // What was not read of the body would be taken for the next request.
    if (!request.complete || services.isDraining()) response.setHeader("connection", "close");
    response.writeHead(status, { ...(body && { "content-type": "application/json" }), ...headers });
    response.end(body);
  }

  return {
    handle(request, response) {
      handle(request, response).catch((error: unknown) => {
        log.error({ err: error }, "a request could not be answered");
        response.destroy();
      });
    },
    close() {
      streams.close();
      documents.close();
    },
  };
}

const preflight = {
  "access-control-allow-methods": "GET, POST, PATCH",
  "access-control-allow-headers": "authorization, content-type, last-event-id, x-request-id",
  "access-control-max-age": "600",
};

function json(body: string): Answer {
  return { status: 200, body };
}

function failed(failure: Problem): Answer {
  const headers: Record<string, string> = failure.status === 503 ? { "retry-after": "1" } : {};
  return { status: failure.status, body: problemBody(failure), headers };
}
