import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "pino";
import type { Shares } from "../../database/shares.js";
import type { TokenIdentity } from "../../identity/tokens.js";
import type { NotificationHub } from "../../notifications/hub.js";
import { createShapeNews } from "../../shapes/news.js";
import type { Answer } from "../answers.js";
import type { OnBehalf } from "../on-behalf.js";
import { problemOf } from "../problems.js";
import type { Readiness } from "../readiness.js";
import { tokenOf } from "../requests.js";
import type { HttpSettings } from "../settings.js";
import { failedAnswer } from "./answers.js";
import { createShapeReading } from "./reading.js";
import { serveShape } from "./serve.js";

export interface ShapeRequestServices {
  readonly shares: Shares;
  readonly onBehalf: OnBehalf;
  readonly settings: HttpSettings;
  readonly log: Logger;
  readonly notifications: Pick<NotificationHub, "add">;
  readonly readiness: Readiness;
}

/** Shapes over HTTP. */
export interface ShapeRequests {
  /** The token of a request. In development mode, where it is a plain user id, clients that were given none are this user. */
  tokenOf(request: IncomingMessage, target: URL): string;
  /** Answers GET and HEAD of /v1/shape, in the protocol's own form whatever happens, but for faults of the server. */
  answer(
    identify: () => Promise<TokenIdentity>,
    request: {
      readonly target: URL;
      readonly response: ServerResponse;
      readonly waits: boolean;
      /** What the client has. */
      readonly etag: string | undefined;
    },
  ): Promise<Answer>;
  /** Answers GET /v1/health. */
  health(): Promise<Answer>;
  /** Answers those who wait. */
  close(): void;
}

/** Who asks without a token, in development mode. */
const developer = "developer";

export function createShapeRequests(services: ShapeRequestServices): ShapeRequests {
  const { shares, onBehalf, settings, log, notifications, readiness } = services;
  const news = createShapeNews({
    db: shares.worker,
    notifications,
    log,
    intervalMs: settings.streamIntervalMs,
    pollMs: settings.recheckMs,
  });
  const serving = { reading: createShapeReading(shares, onBehalf, settings), news, settings };

  return {
    tokenOf(request, target) {
      const token = tokenOf(request, target);
      return token === "" && settings.development ? developer : token;
    },
    async answer(identify, { target, response, waits, etag }) {
      const gone = new AbortController();
      response.once("close", () => gone.abort());
      let identity: TokenIdentity;
      try {
        identity = await identify();
      } catch (error) {
        const { status, message } = problemOf(error);
        if (status >= 500) throw error;
        return failedAnswer(status, message);
      }
      const answer = await serveShape(serving, { identity, target, signal: gone.signal, waits });
      const known = etag?.split(",").map((one) => one.trim().replace(/^W\//, ""));
      const { etag: own } = answer.headers ?? {};
      return answer.status === 200 && typeof own === "string" && known?.includes(own)
        ? { ...answer, status: 304, body: "" }
        : answer;
    },
    async health() {
      const active = (await readiness.trouble()) === undefined;
      return { status: active ? 200 : 202, body: `{"status":"${active ? "active" : "waiting"}"}` };
    },
    close: news.close,
  };
}
