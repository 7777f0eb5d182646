import { LoroAdaptor } from "loro-adaptors/loro";
import { decodeImportBlobMeta, LoroDoc, type LoroText, type PeerID, VersionVector } from "loro-crdt";
import { LoroWebsocketClient, type LoroWebsocketClientRoom } from "loro-websocket";
import { type Line, watchLine } from "./line.js";
import type { Patch } from "./schedule.js";

/** One person at one screen: an unmodified Loro client, its document, and the line it is connected by. */
export interface Author {
  readonly doc: LoroDoc;
  readonly peer: PeerID;
  readonly line: Line;
  readonly client: LoroWebsocketClient;
  readonly room: LoroWebsocketClientRoom;
  /** The document's operation counter of this author after each edit typed so far. */
  readonly counters: number[];
  /** How many operations of this author the server has said it has stored: by answering batches, and when letting the client in. */
  readonly acknowledged: number;
  /** Answers of the server that refused a batch. */
  readonly refusals: number[];
  /** Types one edit; positions are unicode code points. */
  type(patches: readonly Patch[]): void;
  text(): string;
  leave(): void;
  /** Leaves when the server goes, instead of trying to reach it again. */
  leaveWithServer(): void;
}

export interface AuthorOptions {
  /** WebSocket address of the server without a query. */
  url: string;
  roomId: string;
  /** The token that says who this is; every author of a process needs another. */
  token: string;
  /** The text field that is typed into. */
  field: string;
}

/**
 * Opens the document as this person; rejects when the server does not let the person in. What the server has arrives after:
 * wait for `room.waitForReachingServerVersion()`.
 * The client itself is not touched: acknowledgements are read off the wire.
 */
export async function openAuthor({ url, roomId, token, field }: AuthorOptions): Promise<Author> {
  const line = watchLine(token);
  const doc = new LoroDoc();
  const peer = doc.peerIdStr;
  const text = doc.getText(field);
  const counters: number[] = [];
  const refusals: number[] = [];
  const unanswered = new Map<string, number>();
  let acknowledged = 0;
  const confirm = (end: number) => {
    acknowledged = Math.max(acknowledged, end);
  };

  line.onSent = (batchId, updates) => unanswered.set(batchId, endOf(updates, peer));
  line.onClosed = () => unanswered.clear();
  line.onJoined = (version) => {
    if (version.byteLength > 0) confirm(counterIn(VersionVector.decode(version), peer));
  };
  line.onAnswered = (batchId, ok, status) => {
    const end = unanswered.get(batchId);
    if (end === undefined) return;
    unanswered.delete(batchId);
    if (ok) confirm(end);
    else refusals.push(status);
  };

  const client = new LoroWebsocketClient({ url: `${url}?token=${encodeURIComponent(token)}` });
  const room = await joinOrClose(client, roomId, doc);
  return {
    doc,
    peer,
    line,
    client,
    room,
    counters,
    get acknowledged() {
      return acknowledged;
    },
    refusals,
    type(patches) {
      for (const patch of patches) applyPatch(text, patch);
      doc.commit();
      counters.push(counterOf(doc, peer));
    },
    text: () => text.toString(),
    leave: () => client.destroy(),
    leaveWithServer() {
      line.onClosed = () => client.destroy();
    },
  };
}

async function joinOrClose(
  client: LoroWebsocketClient,
  roomId: string,
  doc: LoroDoc,
): Promise<LoroWebsocketClientRoom> {
  try {
    await client.waitConnected();
    return await client.join({ roomId, crdtAdaptor: new LoroAdaptor(doc) });
  } catch (error) {
    client.destroy();
    throw error;
  }
}

/** Applies one recorded patch; Loro counts UTF-16 units, the recordings count code points. */
export function applyPatch(text: LoroText, [position, deleted, inserted]: Patch): void {
  const start = utf16(text, position);
  if (deleted > 0) text.delete(start, utf16(text, position + deleted) - start);
  if (inserted !== "") text.insert(start, inserted);
}

function utf16(text: LoroText, position: number): number {
  const converted = text.convertPos(position, "unicode", "utf16");
  if (converted === undefined) throw new Error(`position ${position} is outside of a text of ${text.length}`);
  return converted;
}

/** How many operations of `peer` a document holds. */
export function counterOf(doc: LoroDoc, peer: PeerID): number {
  return counterIn(doc.version(), peer);
}

function counterIn(version: VersionVector, peer: PeerID): number {
  try {
    return version.get(peer) ?? 0;
  } finally {
    version.free();
  }
}

/** The operation counter of `peer` that these updates reach; 0 when they hold nothing of that peer. */
export function endOf(updates: readonly Uint8Array[], peer: PeerID): number {
  let end = 0;
  for (const update of updates) {
    const { partialStartVersionVector, partialEndVersionVector } = decodeImportBlobMeta(update, false);
    end = Math.max(end, partialEndVersionVector.get(peer) ?? 0);
    partialStartVersionVector.free();
    partialEndVersionVector.free();
  }
  return end;
}
