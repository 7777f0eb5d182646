import { isUtf8 } from "node:buffer";
import { readByte, readerOf, readUint, requireShortest } from "../../../lib/binary.js";
import { checkEnvelope, headerLength } from "./envelope.js";

/**
 * What typing looks like, and how an update that only goes on with it is told without Loro.
 *
 * Most updates there ever are insert a character where their writer's last one stands, made after that one and nothing else. The update
 * then differs from the one before it in five numbers, the text and the checksum. So once Loro has taken in, and perch checked, one
 * insertion, the next can be judged by itself:
 *
 *   it does what it says   It is read as Loro 1 writes it: one block of one change of one operation, which inserts a text. Each of its
 *                          bytes is either one of those numbers, in the one shortest way of writing it, or the text, or the same as
 *                          in the insertion before: so are its peer, its container and all else. What is written any other way is
 *                          left to Loro.
 *   it has its base        It is made after its writer's operation before it and nothing else, and its numbers are the next ones.
 *   its place is there     Where an insertion was let in, at some place of a text, the text is at least as long as that place and
 *                          what was inserted there. Its writer's next operation sees that very text.
 *   it is permitted        Its container is the same as before, and text is all it brings: nothing is nested, nothing named.
 *
 * Formats: Loro's "encoding of updates" (version 1.17); what is known of them is tested against Loro itself, and a Loro that writes
 * differently only makes this useless.
 */
export interface Typing {
  readonly peer: string;
  /** The counter behind its last operation, and its Lamport time. */
  readonly end: number;
  readonly lamport: number;
  /** The text is at least so long, in Loro's units. */
  readonly length: number;
  /** Peers, time, container and whatever else stays the same. */
  readonly same: Uint8Array;
}

/** What is longer is no keystroke. */
export const maxTypedBytes = 256;

interface Insertion {
  readonly peer: string;
  readonly start: number;
  readonly count: number;
  readonly lamport: number;
  readonly position: number;
  readonly same: Uint8Array;
}

/** Behind the peers: that the change was made after its own peer's operation before, and after no other. */
const afterItself = [0, 1, 1, 0, 0, 0, 0, 0];
/** Four columns of one row: the container, which is the first; where; that a text is inserted; how much. */
const operation = [1, 4, 2, 1, 0];
const insertsText = [2, 1, 5];

/** In: an update that the document has taken in. Out: what may follow it; undefined when it was no insertion of the usual kind. */
export function typingAfter(update: Uint8Array): Typing | undefined {
  const read = readInsertion(update);
  return read && after(read, read.position + read.count);
}

/** In: an update of anybody. Out: what may follow it, when it goes on with `typing`; undefined for any other, good or bad. */
export function goesOn(typing: Typing, update: Uint8Array): Typing | undefined {
  const read = readInsertion(update);
  if (!read || read.start !== typing.end || read.lamport !== typing.lamport || read.position > typing.length)
    return undefined;
  if (Buffer.compare(read.same, typing.same) !== 0 || !isSound(update)) return undefined;
  return after(read, typing.length + read.count);
}

function after({ peer, start, count, lamport, same }: Insertion, length: number): Typing {
  return { peer, end: start + count, lamport: lamport + count, length, same };
}

function isSound(update: Uint8Array): boolean {
  try {
    return checkEnvelope(update, maxTypedBytes) === "updates";
  } catch {
    return false;
  }
}

function readInsertion(update: Uint8Array): Insertion | undefined {
  if (update.length > maxTypedBytes) return undefined;
  const reader = readerOf(update);
  reader.offset = headerLength;

  function need(holds: boolean): void {
    if (!holds) reader.bad = true;
  }

  /** At its shortest, below 2^31. */
  function number(): number {
    const start = reader.offset;
    const value = readUint(reader);
    requireShortest(reader, start);
    need(value < 2 ** 31);
    return value;
  }

  function expect(bytes: readonly number[]): void {
    for (const byte of bytes) need(readByte(reader) === byte);
  }

  /** Where that ends whose length stands here. */
  function endOf(): number {
    const length = number();
    return reader.offset + length;
  }

  /** A column of one number. */
  function column(): number {
    const end = endOf();
    expect([1]);
    const value = number();
    need(reader.offset === end);
    return value;
  }

  need(endOf() === update.length);
  const [start, count, lamport, lamports, changes] = [number(), number(), number(), number(), number()];
  need(count > 0 && lamports === count && changes === 1);

  const sameFrom = reader.offset;
  const headEnd = endOf();
  const peers = number();
  const peerAt = reader.offset;
  reader.offset += 8 * peers;
  expect(afterItself);
  need(peers > 0 && reader.offset === headEnd);
  // The time and the message, the containers, their names, and places in trees, of which there are none.
  for (let section = 0; section < 4 && !reader.bad; section++) reader.offset = endOf();
  const sameTo = reader.offset;

  const operationEnd = endOf();
  expect(operation);
  const place = column();
  expect(insertsText);
  need(column() === count && reader.offset === operationEnd);
  // Nothing is deleted.
  expect([0]);
  const textEnd = endOf();
  need(endOf() === textEnd);
  const textAt = reader.offset;
  if (reader.bad || textEnd !== update.length) return undefined;
  const text = update.subarray(textAt);
  // A place is written as the difference to the one before it, with its sign last.
  if (place % 2 !== 0 || !isUtf8(text) || charactersIn(text) !== count) return undefined;
  const view = new DataView(update.buffer, update.byteOffset, update.byteLength);
  return {
    peer: `${view.getBigUint64(peerAt, true)}`,
    start,
    count,
    lamport,
    position: place / 2,
    same: update.subarray(sameFrom, sameTo),
  };
}

/** In: UTF-8. */
function charactersIn(text: Uint8Array): number {
  let count = 0;
  for (const byte of text) if ((byte & 0xc0) !== 0x80) count++;
  return count;
}
