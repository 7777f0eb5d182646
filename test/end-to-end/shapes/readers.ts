/** Those who follow a shape, each by another way of the protocol; what they hold whenever they are told that they are up to date is kept. */
import {
  type Row as ClientRow,
  isChangeMessage,
  isControlMessage,
  type Message,
  ShapeStream,
} from "@electric-sql/client";
import { cleanup } from "../../support/cleanup.js";
import type { Wanted } from "./world.js";

export type Row = Readonly<Record<string, string | null>>;

/** Some moment that a reader was up to date. */
export interface Seen {
  readonly upto: bigint;
  /** Which transactions the first snapshot showed. */
  readonly snapshot: string;
  readonly rows: readonly Row[];
  /** By this process' clock: not before, and not after, the moment at which its rights were looked at. */
  readonly asked: number;
  readonly told: number;
}

export interface Follower {
  readonly user: string;
  readonly wanted: Wanted;
  readonly how: string;
  readonly upto: bigint;
  readonly refetches: number;
  /** Operations that do not fit what was there before. */
  readonly faults: string[];
  readonly seen: Seen[];
  rows(): readonly Row[];
  /** Goes on; resolves after a while. */
  step(live: boolean): Promise<void>;
}

/** What a reader holds that takes every operation at its word. */
class Held {
  readonly rows = new Map<string, Row>();
  readonly faults: string[] = [];
  snapshot = "";
  /** Where it stands, for whoever looks for the reason of a fault. */
  place = "";

  take({
    key,
    value,
    old_value: old,
    headers,
  }: {
    key?: string;
    value?: Row;
    old_value?: Row;
    headers: Record<string, unknown>;
  }): void {
    if (headers.control === "snapshot-end") {
      const { xmin, xmax, xip_list: open } = headers as { xmin: string; xmax: string; xip_list: string[] };
      this.snapshot = `${xmin}:${xmax}:${open.join()}`;
    }
    const { operation } = headers;
    if (key === undefined || operation === undefined) return;
    const before = this.rows.get(key);
    if ((operation === "insert") === (before !== undefined)) {
      const what = before === undefined ? "nothing" : "something";
      const place = `by ${JSON.stringify(headers)}, behind ${this.place}, begun with ${this.snapshot}`;
      this.faults.push(`${operation} of ${key}, of which ${what} was there, ${place}`);
    }
    for (const [name, was] of Object.entries(old ?? {})) {
      if (before?.[name] !== was) this.faults.push(`${key} was not ${name} = ${was}, but ${before?.[name]}`);
    }
    if (operation === "delete") this.rows.delete(key);
    else this.rows.set(key, { ...before, ...value });
  }

  clear(): void {
    this.rows.clear();
    this.snapshot = "";
  }
}

const parameters = ({ where, columns }: Wanted): Record<string, string> => ({
  table: "items",
  ...(where !== undefined && { where }),
  ...(columns !== undefined && { columns: columns.map(({ name }) => `"${name.replaceAll('"', '""')}"`).join() }),
});

/** Request by request. In: any node, another each time. */
export function polling(
  { user, wanted, full }: { user: string; wanted: Wanted; full: boolean },
  node: () => string,
): Follower {
  const held = new Held();
  let [offset, handle, upto, refetches] = ["-1", "", -1n, 0];
  const seen: Seen[] = [];
  return {
    user,
    wanted,
    how: full ? "request by request, whole rows" : "request by request",
    seen,
    faults: held.faults,
    get upto() {
      return upto;
    },
    get refetches() {
      return refetches;
    },
    rows: () => [...held.rows.values()],
    async step(live) {
      const query = new URLSearchParams({
        ...parameters(wanted),
        offset,
        ...(full && { replica: "full" }),
        ...(offset !== "-1" && { handle }),
        ...(live && upto >= 0n && { live: "true" }),
      });
      const headers = { authorization: `Bearer ${user}` };
      const asked = Date.now();
      // A node, or the database, may be killed meanwhile: whatever came of the answer is nothing.
      const reply = await fetch(`${node()}/v1/shape?${query}`, { headers })
        .then(async (response) => ({ response, text: await response.text() }))
        .catch(() => undefined);
      if (reply === undefined || reply.response.status === 503) {
        await new Promise((done) => setTimeout(done, 20));
        return;
      }
      const { response, text } = reply;
      if (response.status === 409) {
        held.clear();
        [offset, handle, upto, refetches] = ["-1", "", -1n, refetches + 1];
        return;
      }
      if (response.status !== 200) throw new Error(`${response.status} for ${user} and ${query}: ${text}`);
      held.place = `${offset} ${handle}`;
      for (const message of JSON.parse(text)) held.take(message);
      offset = response.headers.get("electric-offset") ?? "";
      handle = response.headers.get("electric-handle") ?? "";
      if (!response.headers.has("electric-up-to-date")) return;
      upto = BigInt(offset.split("_")[0] ?? "0");
      seen.push({ upto, snapshot: held.snapshot, rows: [...held.rows.values()], asked, told: Date.now() });
    },
  };
}

/** The published client, on long polls or events. */
export function following(
  { user, wanted, liveSse }: { user: string; wanted: Wanted; liveSse: boolean },
  node: () => string,
): Follower {
  const held = new Held();
  const seen: Seen[] = [];
  let [upto, refetches] = [-1n, 0];
  // When it began its last two requests: of events that came with the end of a stream it may tell when it asks for the next.
  let asked: [number, number] = [0, 0];
  const stop = new AbortController();
  cleanup(() => stop.abort());
  let failed: unknown;
  const { table, ...params } = parameters(wanted);
  const stream = new ShapeStream<ClientRow>({
    url: "http://perch/v1/shape",
    params: { table: table as string, ...params },
    headers: { authorization: `Bearer ${user}` },
    signal: stop.signal,
    liveSse,
    backoffOptions: { initialDelay: 20, maxDelay: 100, multiplier: 1.3 },
    async fetchClient(input, init) {
      asked = [asked[1], Date.now()];
      const { body, status, headers } = await fetch(String(input).replace("http://perch", node()), init);
      const told = new Headers(headers);
      // Knowing no types, it leaves values as they come.
      if (told.has("electric-schema")) told.set("electric-schema", "{}");
      return new Response(body, { status, headers: told });
    },
    onError: (error) => {
      failed = error;
    },
  });
  stream.subscribe((batch: Message<ClientRow>[]) => {
    for (const message of batch) {
      if (isControlMessage(message) && message.headers.control === "must-refetch") {
        held.clear();
        upto = -1n;
        refetches += 1;
      } else if (isControlMessage(message) && message.headers.control === "up-to-date") {
        upto = BigInt(String(message.headers.global_last_seen_lsn));
        const moment = { asked: asked[liveSse ? 0 : 1], told: Date.now() };
        seen.push({ upto, snapshot: held.snapshot, rows: [...held.rows.values()], ...moment });
      } else if (isChangeMessage(message) || isControlMessage(message)) held.take(message as never);
    }
  });
  return {
    user,
    wanted,
    how: `the published client, by ${liveSse ? "events" : "long polls"}`,
    seen,
    faults: held.faults,
    get upto() {
      return upto;
    },
    get refetches() {
      return refetches;
    },
    rows: () => [...held.rows.values()],
    async step() {
      if (failed !== undefined) throw failed;
      await new Promise((done) => setTimeout(done, 20));
    },
  };
}
