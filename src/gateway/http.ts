import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "pino";
import type { Database } from "../database/types.js";
import { call, isCallName } from "./calls.js";
import { type Problem, problem, problemBody, problemOf } from "./problems.js";
import { isAllowedOrigin, readBody, targetOf, tokenOf } from "./requests.js";
import type { GatewaySettings } from "./settings.js";
import type { Telemetry } from "./telemetry.js";
import type { VerifyToken } from "./tokens.js";

export interface HttpServices {
  readonly db: Database;
  readonly settings: GatewaySettings;
  readonly log: Logger;
  readonly verifyToken: VerifyToken;
  readonly telemetry: Telemetry;
  /** Whether the gateway is shutting down. */
  isDraining(): boolean;
  /** Why perch cannot serve now, beyond the database; undefined when it can. */
  notReady(): string | undefined;
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers?: Record<string, string>;
}

/** Paths are whatever a client asks for; only these become a label of the metrics. */
const paths = new Set(["/healthz", "/readyz", "/metrics", "/sync", "/v1/push", "/v1/pull", "/v1/snapshot"]);
const readyTimeoutMs = 2_000;

/** Answers the gateway's HTTP requests. The handler never throws. */
export function createHttpHandler(
  services: HttpServices,
): (request: IncomingMessage, response: ServerResponse) => void {
  const { db, settings, log, verifyToken, telemetry } = services;

  async function answer(request: IncomingMessage): Promise<Answer> {
    const target = targetOf(request);
    const { pathname } = target;
    if (pathname === "/healthz") return only("GET", request) ?? json('{"status":"ok"}');
    if (pathname === "/readyz") return only("GET", request) ?? readiness();
    if (pathname === "/metrics") return only("GET", request) ?? metrics();
    if (pathname === "/sync")
      return { ...failed(problem(426, "upgrade_required", "this is a WebSocket")), headers: { upgrade: "websocket" } };
    const name = pathname.startsWith("/v1/") ? pathname.slice("/v1/".length) : "";
    if (!isCallName(name)) return failed(problem(404, "not_found", "there is nothing here"));
    const refusal = only("POST", request);
    if (refusal !== undefined) return refusal;
    const identity = await verifyToken(tokenOf(request, target));
    return json(await call(db, name, await readBody(request, settings.maxBodyBytes), identity));
  }

  function metrics(): Answer {
    const headers = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
    return { status: 200, body: telemetry.metrics.text(), headers };
  }

  async function readiness(): Promise<Answer> {
    const reason = services.isDraining() ? "shutting down" : (services.notReady() ?? (await databaseTrouble()));
    return reason === undefined ? json('{"status":"ready"}') : failed(problem(503, "unavailable", reason));
  }

  async function databaseTrouble(): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("no answer in time")), readyTimeoutMs);
    });
    try {
      // Fails also when nothing was migrated.
      await Promise.race([db.query("select from perch.document_tables limit 1"), late]);
      return undefined;
    } catch (error) {
      log.warn({ err: error }, "not ready: the database does not answer");
      return "the database does not answer";
    } finally {
      clearTimeout(timer);
    }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const started = performance.now();
    const named = String(request.headers["x-request-id"] ?? "");
    const requestId = /^[\w.:-]{1,100}$/.test(named) ? named : randomUUID();
    response.setHeader("x-request-id", requestId);
    response.setHeader("cache-control", "no-store");
    const { origin } = request.headers;
    let result: Answer;
    try {
      if (!isAllowedOrigin(origin, settings)) result = failed(problem(403, "forbidden", "this origin may not connect"));
      else if (request.method === "OPTIONS") result = { status: 204, body: "", headers: preflight };
      else result = await answer(request);
    } catch (error) {
      const failure = problemOf(error);
      if (failure.status >= 500) log.error({ err: error, requestId }, "a request failed");
      result = failed(failure);
    }
    if (origin !== undefined) {
      response.setHeader("access-control-allow-origin", origin);
      response.setHeader("vary", "origin");
    }
    // What was not read of the body would be taken for the next request.
    if (!request.complete || services.isDraining()) response.setHeader("connection", "close");
    response.writeHead(result.status, {
      ...(result.body && { "content-type": "application/json" }),
      ...result.headers,
    });
    response.end(result.body);
    const ms = performance.now() - started;
    const { status } = result;
    const path = targetOf(request).pathname;
    telemetry.answered(paths.has(path) ? path : "other", status, ms / 1000);
    log.debug({ requestId, method: request.method, path, status, ms: Math.round(ms) }, "request");
  }

  return (request, response) => {
    handle(request, response).catch((error: unknown) => {
      log.error({ err: error }, "a request could not be answered");
      response.destroy();
    });
  };
}

const preflight = {
  "access-control-allow-methods": "GET, POST",
  "access-control-allow-headers": "authorization, content-type, x-request-id",
  "access-control-max-age": "600",
};

function json(body: string): Answer {
  return { status: 200, body };
}

function failed(failure: Problem): Answer {
  const headers: Record<string, string> = failure.status === 503 ? { "retry-after": "1" } : {};
  return { status: failure.status, body: problemBody(failure), headers };
}

function only(method: string, request: IncomingMessage): Answer | undefined {
  if (request.method === method || (method === "GET" && request.method === "HEAD")) return undefined;
  return { ...failed(problem(405, "method_not_allowed", `use ${method}`)), headers: { allow: method } };
}
