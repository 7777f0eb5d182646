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
  let buffered = new Uint8Array(0);
  const view = () => new DataView(buffered.buffer, buffered.byteOffset, buffered.byteLength);
  const take = (length: number): Uint8Array => {
    const message = buffered.slice(0, length);
    buffered = buffered.subarray(length);
    return message;
  };
  const checked = (length: number, longest: number): number => {
    if (length < 4 || length > longest) throw new Error("not the Postgres protocol");
    return length;
  };
  return {
    push(bytes) {
      const joined = new Uint8Array(buffered.byteLength + bytes.byteLength);
      joined.set(buffered);
      joined.set(bytes, buffered.byteLength);
      buffered = joined;
    },
    nextStartup() {
      if (buffered.byteLength < 8) return undefined;
      const length = checked(view().getInt32(0), 10_000);
      const code = view().getInt32(4);
      if (buffered.byteLength < length) return undefined;
      take(length);
      return code;
    },
    next() {
      if (buffered.byteLength < 5) return undefined;
      const length = 1 + checked(view().getInt32(1), longestMessage);
      return buffered.byteLength < length ? undefined : take(length);
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
