import { LoroDoc } from "loro-crdt";
import { type Author, applyPatch, openAuthor } from "../../demo/author.js";
import { openRawRoom } from "../gateway/raw-room.js";
import { typist } from "../log-bytes.js";
import type { Work } from "../race.js";
import { reader, roomOf, session, writer } from "./content.js";

/** A document with a writer and a reader, each an unmodified client of the gateway. */
export interface Pair {
  readonly author: Author;
  readonly audience: Author;
  /** Types a letter, and waits until the reader has it. */
  stroke(): Promise<void>;
  leave(): void;
}

export async function openPair(url: string, recordId: string): Promise<Pair> {
  const open = async (token: string) => {
    const one = await openAuthor({ url, roomId: roomOf(recordId), token, field: "body" });
    await one.room.waitForReachingServerVersion();
    return one;
  };
  const [author, audience] = [await open(writer), await open(reader)];
  const write = typist(author.doc);
  return {
    author,
    audience,
    async stroke() {
      const arrived = new Promise<void>((resolve) => {
        audience.line.onDelivered = resolve;
      });
      write();
      await arrived;
    },
    leave() {
      author.leave();
      audience.leave();
    },
  };
}

/** Types, each letter when the reader has the one before. */
export const typing =
  (pair: Pair): Work =>
  async (deadline) => {
    let done = 0;
    for (; performance.now() < deadline; done++) await pair.stroke();
    return done;
  };

/** What a reader gets for a keystroke, frames and all. */
export async function bytesToReader(pair: Pair, strokes: number): Promise<number> {
  const before = pair.audience.line.bytes.received;
  for (let count = 0; count < strokes; count++) await pair.stroke();
  return (pair.audience.line.bytes.received - before) / strokes;
}

export interface Replay {
  /** Edits a second until the server has said of the last that it is stored. */
  readonly gateway: number;
  /** Edits a second of importing the very same updates into a document in memory. */
  readonly memory: number;
}

/**
 * The whole session as one client had recorded it, in stretches: each is sent as it was typed, an update a keystroke, without
 * waiting, then all answers are awaited. After each stretch the same updates are imported in memory.
 */
export async function replayRecorded(
  url: string,
  recordId: string,
  updates: readonly Uint8Array[],
  stretch: number,
): Promise<Replay[]> {
  const room = await openRawRoom(`${url}?token=${writer}`, roomOf(recordId));
  const copy = new LoroDoc();
  const results: Replay[] = [];
  for (let start = 0; start < updates.length; start += stretch) {
    const some = updates.slice(start, start + stretch);
    const began = performance.now();
    const answers: Promise<void>[] = [];
    for (const [index, update] of some.entries()) {
      answers.push(room.send(update));
      // The socket is served between keystrokes.
      if (index % 20 === 19) await new Promise((done) => setImmediate(done));
    }
    await Promise.all(answers);
    const stored = performance.now();
    for (const update of some) copy.import(update);
    results.push({
      gateway: (some.length * 1000) / (stored - began),
      memory: (some.length * 1000) / (performance.now() - stored),
    });
  }
  room.close();
  copy.free();
  return results;
}

/**
 * The same by the official client, typing as fast as it goes: what it takes itself for a keystroke is in it as well.
 */
export async function replayTyped(url: string, recordId: string, stretch: number): Promise<Replay[]> {
  const author = await openAuthor({ url, roomId: roomOf(recordId), token: writer, field: "body" });
  await author.room.waitForReachingServerVersion();
  const copy = new LoroDoc();
  const updates: Uint8Array[] = [];
  author.doc.subscribeLocalUpdates((update) => updates.push(update));
  const text = author.doc.getText("body");
  const { txns } = session();
  const results: Replay[] = [];
  for (let start = 0; start < txns.length; start += stretch) {
    const edits = txns.slice(start, start + stretch);
    const began = performance.now();
    for (const [index, { patches }] of edits.entries()) {
      for (const patch of patches) applyPatch(text, patch);
      author.doc.commit();
      // As an editor does: the socket is served between keystrokes.
      if (index % 20 === 19) await new Promise((done) => setImmediate(done));
    }
    const last = author.doc.opCount();
    for (const deadline = performance.now() + 120_000; author.acknowledged < last; ) {
      if (performance.now() > deadline) throw new Error(`not stored after two minutes: ${author.refusals.join(", ")}`);
      await new Promise((done) => setTimeout(done, 1));
    }
    const stored = performance.now() - began;
    const from = performance.now();
    for (const update of updates) copy.import(update);
    results.push({
      gateway: (edits.length * 1000) / stored,
      memory: (edits.length * 1000) / (performance.now() - from),
    });
    updates.length = 0;
  }
  author.leave();
  return results;
}
