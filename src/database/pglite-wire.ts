/** The framing of the Postgres wire protocol (version 3.0), as far as a socket in front of PGlite needs it. */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const sslRequest = 80877103;
export const gssRequest = 80877104;
export const cancelRequest = 80877102;
export const protocolVersion = 196608;

/** No client of an embedded database sends more at once; a longer claim is a stranger's protocol. */
const longestMessage = 64 * 1024 * 1024;

/** A message with its type and its length in front. */
export function frame(type: string, ...parts: (string | Uint8Array)[]): Uint8Array {
  const bodies = parts.map((part) => (typeof part === "string" ? encoder.encode(`${part}\0`) : part));
  const length = bodies.reduce((sum, body) => sum + body.byteLength, 4);
  const message = new Uint8Array(1 + length);
  message[0] = type.charCodeAt(0);
  new DataView(message.buffer).setInt32(1, length);
  let offset = 5;
  for (const body of bodies) {
    message.set(body, offset);
    offset += body.byteLength;
  }
  return message;
}

export function int32(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) view.setInt32(4 * index, value);
  return bytes;
}

export const readyForQuery = (status: "I" | "T" | "E") => frame("Z", encoder.encode(status));

export function errorResponse(severity: "ERROR" | "FATAL", code: string, message: string): Uint8Array {
  return frame("E", `S${severity}`, `V${severity}`, `C${code}`, `M${message}`, new Uint8Array(1));
}

export const notificationResponse = (processId: number, channel: string, payload: string) =>
  frame("A", int32(processId), channel, payload);

/** The SQL that a client sent, in a simple query or to be prepared; empty for other messages. */
export function statementText(message: Uint8Array): string {
  if (typeOf(message) === "Q") return decoder.decode(message.subarray(5, -1));
  if (typeOf(message) !== "P") return "";
  const text = message.subarray(message.indexOf(0, 5) + 1);
  return decoder.decode(text.subarray(0, text.indexOf(0)));
}

export const typeOf = (message: Uint8Array) => String.fromCharCode(message[0] ?? 0);

/** Cuts a stream of bytes into messages: at first untyped ones (length, code), then typed ones. */
export interface MessageReader {
  /** Takes what arrived. */
  push(bytes: Uint8Array): void;
  /** The next startup message as its code, once it is complete. Throws when this is no Postgres client. */
  nextStartup(): number | undefined;
  /** The next whole message, once it is complete. Throws when this is no Postgres client. */
  next(): Uint8Array | undefined;
}

export function createMessageReader(): MessageReader {
  /** What has arrived, in pieces: they are put together when there is enough of them, or a long message would be copied with each. */
  let pieces: Uint8Array[] = [];
  let total = 0;
  /** What is next has at least so many bytes. */
  let needed = 0;
  /** All that has arrived as one piece; undefined while it is less than that. */
  const atLeast = (length: number): Uint8Array | undefined => {
    needed = length;
    if (total < needed) return undefined;
    if (pieces.length !== 1) pieces = [Buffer.concat(pieces)];
    return pieces[0];
  };
  const numberAt = (bytes: Uint8Array, offset: number) =>
    new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getInt32(offset);
  const take = (length: number): Uint8Array | undefined => {
    const bytes = atLeast(length);
    if (bytes === undefined) return undefined;
    total -= length;
    pieces = total === 0 ? [] : [bytes.subarray(length)];
    needed = 0;
    return bytes.slice(0, length);
  };
  const checked = (length: number, longest: number): number => {
    if (length < 4 || length > longest) throw new Error("not the Postgres protocol");
    return length;
  };
  return {
    push(bytes) {
      pieces.push(bytes);
      total += bytes.byteLength;
    },
    nextStartup() {
      const start = atLeast(Math.max(8, needed));
      if (start === undefined) return undefined;
      const length = checked(numberAt(start, 0), 10_000);
      const code = numberAt(start, 4);
      return take(length) && code;
    },
    next() {
      const start = atLeast(Math.max(5, needed));
      return start && take(1 + checked(numberAt(start, 1), longestMessage));
    },
  };
}

/** Cuts whole messages apart. */
export function* messagesIn(bytes: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let offset = 0; offset + 5 <= bytes.byteLength; ) {
    const length = 1 + view.getInt32(offset + 1);
    yield bytes.subarray(offset, offset + length);
    offset += length;
  }
}

/**
 * COPY … FROM STDIN asks for data in the middle of a message; PGlite, finding none, would end the process. Where it asks, it is
 * told that the copy failed; where it does not, the protocol has it ignore that.
 */
export function withoutCopyIn(message: Uint8Array): Uint8Array {
  if (typeOf(message) !== "Q" && typeOf(message) !== "E") return message;
  return Buffer.concat([message, frame("f", "COPY FROM STDIN is not possible on the embedded database")]);
}
