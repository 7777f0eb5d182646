import { get, type IncomingMessage } from "node:http";
import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/index.js";
import { type Change, push } from "../../src/log/index.js";
import { cleanup, type Node, until } from "../gateway/support.js";

export interface ServerSentEvent {
  event: string;
  id: string;
  // biome-ignore lint/suspicious/noExplicitAny: what the tests look into is what they expect
  data: any;
}

export interface EventReader {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  /** Everything so far, as it came. */
  text(): string;
  readonly events: ServerSentEvent[];
  /** As an EventSource keeps it. */
  lastEventId(): string;
  retry(): number | undefined;
  /** The next event that nobody has taken. */
  next(): Promise<ServerSentEvent>;
  /** The ids of changed records, so far. */
  ids(): string[];
  readonly ended: Promise<"end" | "cut">;
  pause(): void;
  resume(): void;
  close(): void;
}

/** Reads event streams by the rules of EventSource. Closed after the test. */
export async function openEvents(
  node: { gateway: { url: string } },
  query: string,
  options: { token?: string; lastEventId?: string; headers?: Record<string, string> } = {},
): Promise<EventReader> {
  const headers: Record<string, string> = { authorization: `Bearer ${options.token ?? "ada"}`, ...options.headers };
  if (options.lastEventId !== undefined) headers["last-event-id"] = options.lastEventId;
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = get(`${node.gateway.url}/v1/changes?${query}`, { headers, agent: false }, resolve);
    request.on("error", reject);
    cleanup(() => request.destroy());
  });
  const events: ServerSentEvent[] = [];
  let text = "";
  let taken = 0;
  let lastId = "";
  let idBuffer = "";
  let retry: number | undefined;
  let event = "";
  let data: string[] = [];
  const line = (each: string) => {
    if (each === "") {
      lastId = idBuffer;
      if (data.length > 0) events.push({ event: event || "message", id: lastId, data: JSON.parse(data.join("\n")) });
      event = "";
      data = [];
      return;
    }
    const [, field = "", value = ""] = /^([^:]*):? ?(.*)$/s.exec(each) ?? [];
    if (field === "id") idBuffer = value;
    else if (field === "event") event = value;
    else if (field === "data") data.push(value);
    else if (field === "retry") retry = Number(value);
    else if (field !== "") throw new Error(`no field of an event: ${each}`);
  };
  let rest = "";
  response.setEncoding("utf8");
  response.on("data", (chunk: string) => {
    text += chunk;
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const each of lines) line(each);
  });
  const ended = new Promise<"end" | "cut">((resolve) => {
    response.on("end", () => resolve("end"));
    response.on("error", () => resolve("cut"));
  });
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    text: () => text,
    events,
    lastEventId: () => lastId,
    retry: () => retry,
    async next() {
      const found = await until(() => events[taken], "another event of the stream");
      taken += 1;
      return found;
    },
    // biome-ignore lint/suspicious/noExplicitAny: changes as they came
    ids: () => events.flatMap((each) => (each.data.changes ?? []).map(({ id }: any) => id)),
    ended,
    pause: () => void response.pause(),
    resume: () => void response.resume(),
    close: () => void response.destroy(),
  };
}

/** Reads /metrics. Out: the value of a line. */
export async function metric(node: Node, name: string): Promise<number | undefined> {
  const lines = (await (await fetch(`${node.gateway.url}/metrics`)).text()).split("\n");
  const found = lines.find((each) => each.startsWith(`${name} `));
  return found === undefined ? undefined : Number(found.slice(name.length + 1));
}

export const insert = (id: string, space_id: string | null = null, data: object = {}): Change => ({
  op: "insert",
  table: "tasks",
  id,
  space_id,
  data: data as Record<string, unknown>,
});
export const pushAs = (db: Database, userId: string, appId: string, ...changes: Change[]) =>
  withContext(db, { userId }, (tx) => push(tx, { appId, changes, clientId: `${userId}-phone` }));
