import { nextTime } from "./clock.js";
import type { Json } from "./exact-json.js";
import { type Following, type FollowOptions, follow } from "./follow.js";
import { newId } from "./ids.js";
import { createSpaces, type Spaces } from "./spaces.js";
import { createTransport, hasList, type TokenSource } from "./transport.js";
import type { Call, Change, Cursor, Fields, PullAnswer, PushResult, SnapshotAnswer, WantedFields } from "./types.js";
import { unlessAborted } from "./waiting.js";

export interface PerchClientOptions {
  /** Where perch serves: `https://sync.example.org`. */
  url: string | URL;
  /**
   * A token, or a function that gets one: it is asked once, and again, with `refused`, when the server does not take that any more; also when it threw
   * something else than a PerchError. None where a proxy or a cookie of yours sees to it.
   */
  token?: TokenSource | undefined;
  /** Names this device in what it pushes: choose it once and keep it. */
  clientId?: string | undefined;
  /** How answers are read and requests written: `exactJson`, where numbers may be larger than a double holds. */
  json?: Json | undefined;
  fetch?: typeof fetch | undefined;
  /** How long one attempt may take (30 s). */
  timeoutMs?: number | undefined;
  /** For how long what passes is tried again before it is an error (60 s); `follow` goes on for ever. */
  patienceMs?: number | undefined;
  /** How long a stream may be silent before it is connected anew (45 s; servers send something every 15). */
  idleMs?: number | undefined;
}

interface Asking {
  signal?: AbortSignal | undefined;
}

export interface PushOptions<Content = Fields> extends Asking {
  appId: string;
  changes: readonly (Change<Content> | Call)[];
  /** That of the client, when not given. */
  clientId?: string | undefined;
  /** Whose the changes are: refused with PE403 when the token is another's by now. */
  userId?: string | undefined;
  /** All changes apply, or none. */
  atomic?: boolean | undefined;
  /** Instead of the client's. */
  patienceMs?: number | undefined;
}

export interface PullOptions extends Asking {
  appId: string;
  /** From the beginning, when not given. */
  cursor?: Cursor | undefined;
  pageSize?: number | undefined;
  tables?: readonly string[] | undefined;
  excludeClientId?: string | undefined;
  schemaVersions?: Readonly<Record<string, number>> | undefined;
  fields?: WantedFields | undefined;
}

export interface SnapshotOptions extends Asking {
  appId: string;
  /** The personal space, when not given. */
  spaceId?: string | undefined;
  /** `next` of the page before. */
  after?: string | null | undefined;
  pageSize?: number | undefined;
  /** Keeps its place in all other spaces. */
  cursor?: Cursor | undefined;
  tables?: readonly string[] | undefined;
  schemaVersions?: Readonly<Record<string, number>> | undefined;
  fields?: WantedFields | undefined;
}

export interface PerchClient {
  readonly url: string;
  readonly clientId: string | undefined;
  /**
   * Appends changes; one result for each, in their order (a bad change is rejected alone, or all are with `atomic`). Pushes of one client leave one
   * after the other, each when the one before has its answer: however often one is tried again, no change of a record overtakes an earlier
   * one. What has no op_id and no time gets them here, so that a repeat is harmless. Errors: PerchError of the whole push; what is not passing
   * (`isPassing`) was refused, anything else may have been applied: push the same again, with its op_ids.
   */
  push<Content extends object = Fields>(options: PushOptions<Content>): Promise<{ results: PushResult[] }>;
  /** The changes after a cursor, a page at a time: pull again while `has_more`. PE410: take snapshots of the spaces in its detail. */
  pull<Content = Fields>(options: PullOptions): Promise<PullAnswer<Content>>;
  /** The live records of a space, a page at a time, and with the last a cursor from which pulling misses nothing. */
  snapshot<Content = Fields>(options: SnapshotOptions): Promise<SnapshotAnswer<Content>>;
  /**
   * Everything after the cursor, then what is committed, as it is committed, each change once and in order, for as long as it is iterated:
   * through lost connections, restarts of the server, expired tokens, and through a resync. Errors: what does not pass (PE401, PE403, PE422).
   */
  follow<Content = Fields>(options: FollowOptions): Following<Content>;
  readonly spaces: Spaces;
  /** Any other request: a path with its query, and a body. Errors: PerchError. */
  request(method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE", path: string, body?: unknown): Promise<unknown>;
}

/** Talks to a perch server over HTTP, from a browser or from Node. */
export function createPerchClient(options: PerchClientOptions): PerchClient {
  const url = String(options.url).replace(/\/+$/, "");
  const transport = createTransport({
    url,
    token: options.token,
    // Called as a function: a browser's fetch wants no other `this`.
    fetch: options.fetch ?? ((input, init) => fetch(input, init)),
    json: options.json ?? JSON,
    timeoutMs: options.timeoutMs ?? 30_000,
    patienceMs: options.patienceMs ?? 60_000,
  });
  const ask = (path: string, body: unknown, list: string, signal: AbortSignal | undefined) =>
    transport.ask({ method: "POST", path, body, signal, isAnswer: hasList(list) });
  let line: Promise<unknown> = Promise.resolve();

  return {
    url,
    clientId: options.clientId,
    async push({ appId, changes, clientId = options.clientId, userId, atomic, patienceMs, signal }) {
      const body = {
        app_id: appId,
        client_id: clientId ?? null,
        ...(userId !== undefined && { user_id: userId }),
        ...(atomic !== undefined && { atomic }),
        changes: changes.map(named),
      };
      // As it is now: the caller may go on with what it passed.
      const text = transport.json.stringify(body);
      const request = {
        method: "POST",
        path: "/v1/push",
        text,
        isAnswer: hasList("results"),
        signal,
        patienceMs,
      } as const;
      const sent = line.then(() => transport.ask(request));
      line = sent.catch(() => undefined);
      // Whoever gives up does not wait for the pushes before this one; this one is not sent then.
      return (await unlessAborted(sent, signal)) as { results: PushResult[] };
    },
    pull: <Content>({
      appId,
      cursor,
      pageSize,
      tables,
      excludeClientId,
      schemaVersions,
      fields,
      signal,
    }: PullOptions) => {
      const body = {
        app_id: appId,
        cursor: cursor ?? {},
        page_size: pageSize ?? null,
        ...(tables && { tables }),
        exclude_client_id: excludeClientId ?? null,
        ...(schemaVersions && { schema_versions: schemaVersions }),
        ...(fields && { fields }),
      };
      return ask("/v1/pull", body, "changes", signal) as Promise<PullAnswer<Content>>;
    },
    snapshot: <Content>({
      appId,
      spaceId,
      after,
      pageSize,
      cursor,
      tables,
      schemaVersions,
      fields,
      signal,
    }: SnapshotOptions) => {
      const body = {
        app_id: appId,
        space_id: spaceId ?? null,
        after: after ?? null,
        page_size: pageSize ?? null,
        ...(cursor && { cursor }),
        ...(tables && { tables }),
        ...(schemaVersions && { schema_versions: schemaVersions }),
        ...(fields && { fields }),
      };
      return ask("/v1/snapshot", body, "records", signal) as Promise<SnapshotAnswer<Content>>;
    },
    follow: <Content>(following: FollowOptions) => follow<Content>(transport, following, options.idleMs ?? 45_000),
    spaces: createSpaces(transport),
    request: (method, path, body) => transport.ask({ method, path, ...(body !== undefined && { body }) }),
  };
}

/** With an op_id, and of a record with a time: chosen once, whatever becomes of the request. */
function named<Content>(change: Change<Content> | Call): Change<Content> | Call {
  const op_id = change.op_id ?? newId();
  return change.op === "call" ? { ...change, op_id } : { ...change, op_id, at: change.at ?? latestOf(change) };
}

/** Now; for what says of its fields when they were written, as the server takes it. */
const latestOf = ({ field_meta }: { field_meta?: Record<string, string> | null | undefined }) =>
  field_meta === undefined || field_meta === null ? nextTime() : null;
