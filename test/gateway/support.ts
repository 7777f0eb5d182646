import { randomBytes } from "node:crypto";
import type { LoroDoc } from "loro-crdt";
import { encode, MessageType, type ProtocolMessage, tryDecode } from "loro-protocol";
import { LoroWebsocketClient } from "loro-websocket";
import { pino } from "pino";
import { WebSocket } from "ws";
import type { Database } from "../../src/database/types.js";
import { createLiveDocuments, type LiveDocuments } from "../../src/documents/live.js";
import type { DocumentEngine } from "../../src/documents/loro/engine.js";
import { type Gateway, type GatewayOptions, startGateway } from "../../src/gateway/index.js";
import { gatewaySettings } from "../../src/gateway/settings.js";
import "../../scripts/support/sockets.js";
import { cleanup, cleanupFirst } from "../support/cleanup.js";
import type { TestDatabase } from "../support/databases.js";
import { lendEngine } from "../support/engines.js";
import { until } from "../support/until.js";

export { cleanup, until };

/** Appends to the body and commits. Out: the update. */
export function typed(doc: LoroDoc, letters: string): Uint8Array {
  const from = doc.version();
  const body = doc.getText("body");
  body.insert(body.length, letters);
  doc.commit();
  return doc.export({ mode: "update", from });
}

/** Letters that do not compress to nothing. */
export function randomText(length: number): string {
  return randomBytes(Math.ceil(length / 2))
    .toString("hex")
    .slice(0, length);
}

export const text = (value: string) => new TextEncoder().encode(value);

export interface Node {
  readonly gateway: Gateway;
  readonly live: LiveDocuments;
  readonly engine: DocumentEngine;
  readonly url: string;
  /** Stops the gateway, then what is beneath it. */
  stop(): Promise<void>;
}

export interface NodeOptions extends Partial<Pick<GatewayOptions, "notReady" | "log">> {
  /** Variables of the environment. */
  env?: Record<string, string>;
  /** Wraps the database the gateway and the documents use. */
  db?: Database;
  /** Wraps the documents the gateway uses. */
  wrapLive?: (live: LiveDocuments) => LiveDocuments;
}

/** A gateway on the database, in development mode unless told otherwise, stopped after the test. */
export async function startNode(database: TestDatabase, options: NodeOptions = {}): Promise<Node> {
  const log = options.log ?? pino({ level: process.env.LOG_LEVEL ?? "silent" });
  const db = options.db ?? database.db;
  const engine = lendEngine();
  const live = createLiveDocuments({ db, engine, log });
  const gateway = await startGateway({
    db,
    live: options.wrapLive?.(live) ?? live,
    settings: gatewaySettings({ PERCH_PORT: "0", ...options.env }, { development: true }),
    log,
    ...(options.notReady && { notReady: options.notReady }),
  });
  let stopping: Promise<void> | undefined;
  const stop = async () => {
    await gateway.close();
    await live.close();
    await engine.close();
  };
  const node: Node = {
    gateway,
    live,
    engine,
    url: gateway.url.replace("http", "ws"),
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
  };
  cleanup(node.stop);
  return node;
}

/** A table of notes, declared. */
export async function declareNotes(database: TestDatabase): Promise<void> {
  await database.db.query(
    `select perch.declare_table(app_id => 'app', table_name => 'notes', fields => '{"title": "string", "body": "text"}')`,
  );
}

/** Makes a space with an owner and members. */
export async function makeSpace(
  database: TestDatabase,
  spaceId: string,
  owner: string,
  members: Record<string, "viewer" | "editor" | "owner"> = {},
): Promise<void> {
  await database.asUser(owner, async (tx) => {
    await tx.query("select perch.create_space(space_id => $1)", [spaceId]);
    for (const [user, role] of Object.entries(members)) {
      await tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => $3)", [spaceId, user, role]);
    }
  });
}

/** Expects an attempt to take less than two seconds, by the best of a few: a loaded machine may be late once. */
export async function withinTwoSeconds(attempt: () => Promise<number>): Promise<void> {
  const took: number[] = [];
  while (took.length < 4) {
    took.push(await attempt());
    if (Math.min(...took) < 2_000) return;
  }
  throw new Error(`took ${took.join(", ")} ms`);
}

/** The official client, destroyed after the test. */
export function officialClient(
  node: { url: string },
  options: { token?: string; errors?: Error[] } = {},
): LoroWebsocketClient {
  const query = options.token === undefined ? "" : `?token=${encodeURIComponent(options.token)}`;
  const client = new LoroWebsocketClient({
    url: `${node.url}/sync${query}`,
    reconnect: { initialDelayMs: 50, maxDelayMs: 200 },
    onError: (error) => options.errors?.push(error),
  });
  // One that is destroyed while it reconnects leaves a rejection that nobody handles.
  cleanupFirst(() => client.destroy());
  return client;
}

type MessageOf<T extends ProtocolMessage["type"]> = Extract<ProtocolMessage, { type: T }>;

export interface RawClient {
  readonly socket: WebSocket;
  /** Every binary message so far that nobody has taken. */
  readonly inbox: ProtocolMessage[];
  /** Text messages so far. */
  readonly texts: string[];
  /** The longest frame received, in bytes. */
  largestFrame(): number;
  /** Resolves with code and reason once closed. */
  readonly closed: Promise<{ code: number; reason: string }>;
  send(message: ProtocolMessage): void;
  /** Sends bytes as they are. */
  sendRaw(data: Uint8Array | string): void;
  /** Takes the next message of a type, skipping none of another: those stay in the inbox. */
  next<T extends ProtocolMessage["type"]>(type: T): Promise<MessageOf<T>>;
  /** Joins a room; resolves with whichever answer came. */
  join(
    roomId: string,
    options?: { token?: string; version?: Uint8Array; crdt?: ProtocolMessage["crdt"] },
  ): Promise<MessageOf<1> | MessageOf<2>>;
  /** Sends one batch and resolves with the status of its acknowledgement. */
  update(roomId: string, updates: Uint8Array[], crdt?: ProtocolMessage["crdt"]): Promise<number>;
}

let lastBatch = 0;
export function newBatchId(): `0x${string}` {
  lastBatch += 1;
  return `0x${lastBatch.toString(16).padStart(16, "0")}`;
}

/** A client that sends frames as the test makes them; closed after the test. */
export async function rawClient(
  node: { url: string },
  options: { token?: string; headers?: Record<string, string> } = {},
): Promise<RawClient> {
  const query = options.token === undefined ? "" : `?token=${encodeURIComponent(options.token)}`;
  const socket = new WebSocket(`${node.url}/sync${query}`, { headers: options.headers ?? {} });
  cleanup(() => socket.terminate());
  const inbox: ProtocolMessage[] = [];
  const texts: string[] = [];
  let largest = 0;
  socket.on("message", (data: Buffer, isBinary) => {
    largest = Math.max(largest, data.length);
    const message = isBinary ? tryDecode(new Uint8Array(data)) : undefined;
    if (message !== undefined) inbox.push(message);
    if (!isBinary) texts.push(data.toString());
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once("close", (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  socket.on("error", () => undefined);
  await new Promise<void>((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
  });

  const take = <M extends ProtocolMessage>(wanted: (message: ProtocolMessage) => message is M, what: string) =>
    until(() => {
      const at = inbox.findIndex(wanted);
      return at < 0 ? undefined : (inbox.splice(at, 1)[0] as M);
    }, what);

  const client: RawClient = {
    socket,
    inbox,
    texts,
    largestFrame: () => largest,
    closed,
    send: (message) => socket.send(encode(message)),
    sendRaw: (data) => socket.send(data),
    next: (type) =>
      take((message): message is MessageOf<typeof type> => message.type === type, `a message of type ${type}`),
    async join(roomId, { token = "", version = new Uint8Array([0]), crdt = "%LOR" } = {}) {
      client.send({ type: MessageType.JoinRequest, crdt, roomId, auth: text(token), version });
      return take(
        (message): message is MessageOf<1> | MessageOf<2> =>
          (message.type === MessageType.JoinResponseOk || message.type === MessageType.JoinError) &&
          message.roomId === roomId &&
          message.crdt === crdt,
        `the answer to a join of ${roomId}`,
      );
    },
    async update(roomId, updates, crdt = "%LOR") {
      const batchId = newBatchId();
      client.send({ type: MessageType.DocUpdate, crdt, roomId, updates, batchId });
      const ack = await take(
        (message): message is MessageOf<8> => message.type === MessageType.Ack && message.refId === batchId,
        "the acknowledgement of an update",
      );
      return ack.status;
    },
  };
  return client;
}
