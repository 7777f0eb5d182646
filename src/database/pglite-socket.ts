import { unlink } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { PGlite } from "@electric-sql/pglite";
import {
  cancelRequest,
  createMessageReader,
  errorResponse,
  frame,
  gssRequest,
  int32,
  messagesIn,
  notificationResponse,
  protocolVersion,
  readyForQuery,
  sslRequest,
  statementText,
  typeOf,
  withoutCopyIn,
} from "./pglite-wire.js";
import { pinning } from "./session.js";

export interface PgliteSocket {
  /** The folder to give as host: `psql -h FOLDER`. */
  readonly folder: string;
  close(): Promise<void>;
}

export interface PgliteSocketOptions {
  client: PGlite;
  /** Gets the socket, under the name that Postgres clients expect. It must be locked by this process. */
  folder: string;
  /** How long a client may leave its transaction open without a word; nobody else gets a turn meanwhile. Default 30 s. */
  idleInTransactionMs?: number;
}

/** Where a process that serves an embedded database lets Postgres clients in. */
export const socketPath = (folder: string): string => join(folder, ".s.PGSQL.5432");

/** A URL for what listens on that socket. */
export const socketUrl = (folder: string): string => `postgres://postgres@/postgres?host=${encodeURIComponent(folder)}`;

/** Unix knows no longer path of a socket. */
const longestPath = process.platform === "darwin" ? 103 : 107;

/**
 * Lets psql and any other Postgres client into the embedded database, through a socket that only this user may open.
 *
 * PGlite is one session, so clients take turns: a turn lasts until the client's transaction ends, excludes perch itself, and leaves
 * nothing behind. It is as behind a transaction-pooling proxy, but for LISTEN, which works: roles, settings, prepared
 * statements and temporary tables last for a transaction.
 * Throws when the system has no such sockets, or the folder's path is too long for one.
 */
export async function openPgliteSocket(options: PgliteSocketOptions): Promise<PgliteSocket> {
  const { client, folder } = options;
  const path = socketPath(folder);
  if (process.platform === "win32")
    throw new Error(
      "Windows has no sockets that Postgres clients could use; stop perch start, and perch sql opens the folder itself",
    );
  if (Buffer.byteLength(path) > longestPath)
    throw new Error(
      `the path ${path} is too long for a socket; name a shorter folder, with --database-url pglite:FOLDER`,
    );

  const version = (await client.query<{ server_version: string }>("show server_version")).rows[0]?.server_version ?? "";
  const guests = new Set<Guest>();
  const stopNotifying = client.onNotification((channel, payload) => {
    for (const guest of guests) guest.notify(channel, payload);
  });
  let lastId = process.pid;
  const server = createServer((socket) => {
    lastId += 1;
    const guest = receiveGuest(socket, { ...options, version, id: lastId });
    guests.add(guest);
    socket.once("close", () => guests.delete(guest));
  });

  // A process killed before it could tidy up leaves the file; the folder is ours.
  await unlink(path).catch(() => undefined);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    // The file is made within the call, so it never has another mode than this.
    const mask = process.umask(0o177);
    server.listen(path, resolve);
    process.umask(mask);
  });

  return {
    folder,
    async close() {
      stopNotifying();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await Promise.all([...guests].map((guest) => guest.dismiss()));
      await closed;
    },
  };
}

interface Guest {
  notify(channel: string, payload: string): void;
  /** Ends the connection; a transaction in progress is rolled back first. */
  dismiss(): Promise<void>;
}

interface GuestOptions extends PgliteSocketOptions {
  version: string;
  id: number;
}

function receiveGuest(socket: Socket, options: GuestOptions): Guest {
  const { client, version, id, idleInTransactionMs = 30_000 } = options;
  const reader = createMessageReader();
  const waiting: Uint8Array[] = [];
  const channels = new Set<string>();
  let started = false;
  let gone = false;
  let wake: () => void = () => undefined;
  let serving: Promise<void> | undefined;

  const send = (bytes: Uint8Array) => {
    if (!socket.destroyed && socket.writable) socket.write(bytes);
  };
  const leave = () => {
    gone = true;
    wake();
  };
  const refuse = (code: string, message: string) => {
    send(errorResponse("FATAL", code, message));
    socket.end();
    leave();
  };

  function greet(code: number): void {
    if (code === sslRequest || code === gssRequest) {
      send(new TextEncoder().encode("N"));
    } else if (code === cancelRequest) {
      // There is nobody to interrupt: a statement runs to its end before anything else is read.
      socket.end();
      leave();
    } else if (code === protocolVersion) {
      welcome();
    } else {
      refuse("08P01", "only version 3.0 of the protocol is spoken here");
    }
  }

  function welcome(): void {
    started = true;
    send(frame("R", int32(0)));
    const settings = {
      server_version: version,
      server_encoding: "UTF8",
      client_encoding: "UTF8",
      DateStyle: "ISO, MDY",
      integer_datetimes: "on",
      standard_conforming_strings: "on",
    };
    for (const [name, value] of Object.entries(settings)) send(frame("S", name, value));
    send(frame("K", int32(id, 0)));
    send(readyForQuery("I"));
  }

  /** The client's next message; undefined when it has left, or said nothing for too long. */
  async function nextMessage(): Promise<Uint8Array | undefined> {
    const deadline = Date.now() + idleInTransactionMs;
    while (waiting.length === 0 && !gone) {
      const left = deadline - Date.now();
      if (left <= 0) {
        refuse("25P03", "the transaction was left open for too long, and everybody waits for it");
        return undefined;
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return waiting.shift();
  }

  /** Runs messages until no transaction is open any more. */
  async function takeTurn(): Promise<void> {
    let idle = false;
    while (!idle) {
      const message = await nextMessage();
      if (message === undefined) break;
      idle = await answer(message);
    }
    await client.runExclusive(async () => {
      // After an error every message up to the client's Sync is skipped, and this client will send none any more.
      if (!idle) await client.execProtocol(frame("S"), { throwOnError: false });
      if (client.isInTransaction()) await runQuietly(client, "rollback");
      await runQuietly(client, leaveNothingBehind);
    });
  }

  /** Passes one message on, and sends what comes back. Out: whether the client is done for now. */
  async function answer(message: Uint8Array): Promise<boolean> {
    const text = statementText(message);
    const listening = /listen/i.test(text) ? await listeningChannels(client) : [];
    let idle = false;
    const { data } = await client.runExclusive(() =>
      client.execProtocol(withoutCopyIn(message), { throwOnError: false }),
    );
    const replies: Uint8Array[] = [];
    for (const reply of messagesIn(data)) {
      // Notifications are for those who listen, whoever's commit brought them up.
      if (typeOf(reply) === "A") continue;
      if (typeOf(reply) === "Z") idle = reply[5] === "I".charCodeAt(0);
      replies.push(reply);
    }
    noteListening(text, channels);
    // UNLISTEN of one must not make the others deaf.
    for (const channel of listening) await runQuietly(client, `listen ${channel}`);
    send(Buffer.concat(replies));
    return idle;
  }

  function serve(): void {
    serving ??= (async () => {
      while (waiting.length > 0 && !gone) await client._runExclusiveTransaction(takeTurn);
    })()
      .catch((error: unknown) => refuse("XX000", String(error)))
      .finally(() => {
        serving = undefined;
        if (waiting.length > 0 && !gone) serve();
      });
  }

  socket.on("error", leave);
  socket.on("close", leave);
  socket.on("data", (bytes) => {
    try {
      reader.push(bytes);
      while (!started && !gone) {
        const code = reader.nextStartup();
        if (code === undefined) return;
        greet(code);
      }
      for (let message = reader.next(); message !== undefined; message = reader.next()) {
        if (typeOf(message) === "X") {
          socket.end();
          leave();
          return;
        }
        waiting.push(message);
      }
    } catch {
      socket.destroy();
      return;
    }
    wake();
    if (waiting.length > 0) serve();
  });

  return {
    notify(channel, payload) {
      if (channels.has(channel)) send(notificationResponse(id, channel, payload));
    },
    async dismiss() {
      if (started && !gone) refuse("57P01", "the database is being closed");
      socket.destroySoon();
      await serving;
    },
  };
}

/** What a turn may have changed for the next one. LISTEN stays: it is kept apart, for each client. */
const leaveNothingBehind = `reset session authorization; reset role; reset all; deallocate all; close all; discard temp;
  discard sequences; select pg_advisory_unlock_all(); ${pinning}`;

async function runQuietly(client: PGlite, sql: string): Promise<void> {
  await client.execProtocol(frame("Q", sql), { throwOnError: false });
}

async function listeningChannels(client: PGlite): Promise<string[]> {
  const { messages } = await client.execProtocol(frame("Q", "select quote_ident(pg_listening_channels())"), {
    throwOnError: false,
  });
  return messages.flatMap((message) =>
    message.name === "dataRow" ? [(message as unknown as { fields: string[] }).fields[0] ?? ""] : [],
  );
}

/** Notes the channels that a query names in LISTEN and UNLISTEN. */
function noteListening(text: string, channels: Set<string>): void {
  const statements = /(?:^|;)\s*(listen|unlisten)\s+(\*|"(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_$]*)/giu;
  for (const [, verb = "", name = ""] of text.matchAll(statements)) {
    const channel = name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name.toLowerCase();
    if (verb.toLowerCase() === "listen") channels.add(channel);
    else if (name === "*") channels.clear();
    else channels.delete(channel);
  }
}
