/**
 * `perch/loro`: Loro documents that are there without a network. What a document's editor and the official Loro client do stays as it is.
 * @module
 */
import type { ImportStatus, LoroDoc, VersionVector } from "loro-crdt";
import { type DeviceStorage, newId } from "../index.js";
import { pauseMs, sleep } from "../waiting.js";

export interface KeepOptions {
  /** Names the document on this device: its room id, say. */
  key: string;
  /**
   * Where it is kept, a storage for each user: `new IndexedDBAdapter("documents/ada")` of `@tanstack/offline-transactions`. To forget a user who signs
   * out: close the documents, then `clear()` it.
   */
  storage: DeviceStorage;
  /**
   * Joins the document's room: `() => socket.join({ roomId, crdtAdaptor: new LoroAdaptor(doc), auth })`. The official client waits for a network by
   * itself, and joins again when it was away; what it gives up (the token has expired, say) is tried again here.
   */
  join?: () => Promise<unknown>;
  /** Told why the room could not be joined, or what could not be kept: both are tried again. Also of a piece that is damaged: it stays, and is left out. */
  onError?: (error: unknown) => void;
}

export interface KeptDocument {
  /** Resolves when everything that is in the document now is kept on the device. */
  saved(): Promise<void>;
  /** Resolves when the room was joined. */
  readonly joined: Promise<void>;
  /** Keeps what is there and lets go of the document. Leaving the room is the app's. */
  close(): Promise<void>;
}

/** So many pieces are made one snapshot. */
const maxPieces = 50;

interface Piece {
  readonly name: string;
  readonly text: string;
}

/**
 * Loads what the device has of a document into it, and keeps what comes to it, from the call on: the user's edits at once, the others' as they
 * arrive. Resolves when it is loaded, which needs no network. Errors: those of the storage, when it cannot be read.
 *
 * A piece is never overwritten and only removed once a snapshot that holds it is kept; and by a tab that read or wrote it and has all of it, so that
 * tabs with the same document open do not take each other's. After a crash in between a piece is there twice, and Loro takes each operation once.
 */
export async function keepDocument(doc: LoroDoc, options: KeepOptions): Promise<KeptDocument> {
  const { key, storage, join, onError } = options;
  const prefix = `${key}/`;
  const stop = new AbortController();
  /** What is kept on the device and is in the document: of nothing else may a snapshot take the place. */
  let pieces: string[] = [];
  /** What the pieces hold, and nothing that came to the document meanwhile: from there on it is still to be kept. */
  let kept = emptyLike(doc).oplogVersion();
  const loading = load(doc, storage, prefix, (error) => onError?.(error)).then((held) => {
    pieces = held.map(({ name }) => name);
    kept = versionIn(held, doc);
  });
  let work: Promise<void> = loading;
  let failures = 0;

  async function put(bytes: Uint8Array, kind = ""): Promise<string> {
    const name = `${prefix}${newId()}${kind}`;
    await storage.set(name, textOf(bytes));
    return name;
  }

  async function save(): Promise<void> {
    doc.commit();
    // What the document has, also while it shows an earlier version.
    const version = doc.oplogVersion();
    if (version.compare(kept) === 0) return;
    if (follows(doc, kept)) {
      pieces.push(await put(doc.export({ mode: "update", from: kept })));
      kept = version;
      if (pieces.length < maxPieces) return;
    }
    const old = pieces;
    pieces = [await put(doc.export({ mode: "snapshot" }), snapshotMark)];
    kept = version;
    for (const each of old) await storage.delete(each);
  }

  /** One save after the other. */
  function saveNow(): Promise<void> {
    const saved = work.then(save);
    work = saved.catch(() => undefined);
    return saved;
  }

  /** What fails is reported, and tried again after a pause, or with the next edit. */
  function saveSoon(): void {
    saveNow().then(
      () => {
        failures = 0;
      },
      async (error: unknown) => {
        onError?.(error);
        await sleep(pauseMs(failures, 100, 10_000), stop.signal);
        failures += 1;
        if (!stop.signal.aborted) saveSoon();
      },
    );
  }

  async function joining(): Promise<void> {
    for (let attempt = 0; join !== undefined && !stop.signal.aborted; attempt++) {
      try {
        await join();
        return;
      } catch (error) {
        onError?.(error);
        await sleep(pauseMs(attempt, 500, 30_000), stop.signal);
      }
    }
  }

  // Before it is loaded: what is typed meanwhile is on no device.
  const unsubscribe = doc.subscribe(() => void loading.then(saveSoon, () => undefined));
  try {
    await loading;
  } catch (error) {
    unsubscribe();
    throw error;
  }
  saveSoon();
  return {
    joined: joining(),
    saved: saveNow,
    close() {
      stop.abort();
      unsubscribe();
      return saveNow();
    },
  };
}

/**
 * Takes all pieces into the document. Out: those that it holds; of others something is missing that they build on.
 *
 * What is listed may be gone when it is read, and what builds on it is there: another tab made them one snapshot, which stands in the next list. So
 * it is listed until there is nothing new; no name comes twice.
 */
async function load(
  doc: LoroDoc,
  storage: DeviceStorage,
  prefix: string,
  onError: (error: unknown) => void,
): Promise<Piece[]> {
  const seen = new Set<string>();
  const held: Piece[] = [];
  let waiting: Piece[] = [];
  for (;;) {
    const names = (await storage.keys()).filter((each) => isPiece(each, prefix) && !seen.has(each));
    if (names.length === 0) return held;
    const texts = await Promise.all(names.map((each) => storage.get(each)));
    for (const [nth, name] of names.entries()) {
      const text = texts[nth] ?? null;
      seen.add(name);
      if (text !== null) waiting.push({ name, text });
    }
    const taken = takeAll(doc, waiting, onError);
    held.push(...taken.held);
    waiting = taken.waiting;
  }
}

/** Out: what the document holds of the pieces, and what waits for others. What is damaged is told, and does not keep the rest from being read. */
function takeAll(doc: LoroDoc, pieces: readonly Piece[], onError: (error: unknown) => void) {
  const [held, waiting]: [Piece[], Piece[]] = [[], []];
  const take = (piece: Piece) => {
    try {
      // What the document has already is taken as nothing, and what it cannot take yet is pending again.
      (isEmpty(doc.import(bytesOf(piece.text))) ? held : waiting).push(piece);
    } catch (cause) {
      onError(new Error(`${piece.name} in the storage is damaged, and left out of its document`, { cause }));
    }
  };
  // Those of shallow documents are taken by one that has nothing that builds on them, and in no batch.
  const isSnapshot = ({ name }: Piece) => name.endsWith(snapshotMark);
  for (const each of pieces.filter(isSnapshot)) take(each);
  const rest = pieces.filter((each) => !isSnapshot(each));
  if (rest.length > 0 && isTakenAtOnce(doc, rest)) held.push(...rest);
  else for (const each of rest) take(each);
  return { held, waiting };
}

/** All together is faster than one by one. */
function isTakenAtOnce(doc: LoroDoc, pieces: readonly Piece[]): boolean {
  try {
    return isEmpty(doc.importBatch(pieces.map(({ text }) => bytesOf(text))));
  } catch {
    // One is damaged: taken one by one they say which.
    return false;
  }
}

/** Ends the name of a piece that is a snapshot. */
const snapshotMark = "s";

/** Of no document whose key begins with this one's. */
const isPiece = (name: string, prefix: string) =>
  name.startsWith(prefix) && /^[0-9a-f]{32}s?$/.test(name.slice(prefix.length));

/** What these pieces hold by themselves; a document that has taken them may have more, of which a piece is still to be made. */
function versionIn(pieces: readonly Piece[], doc: LoroDoc): VersionVector {
  const alone = emptyLike(doc);
  takeAll(alone, pieces, () => undefined);
  const version = alone.oplogVersion();
  alone.free();
  return version;
}

/** Made by the document's own class: an app may have another copy of Loro than this module would. */
const emptyLike = (doc: LoroDoc): LoroDoc => new (doc.constructor as new () => LoroDoc)();

/** Whether the document can say all that came after a version: a shallow one does not know what was before its beginning. */
function follows(doc: LoroDoc, version: VersionVector): boolean {
  if (version.length() === 0) return false;
  const order = version.compare(doc.shallowSinceVV());
  return order !== undefined && order >= 0;
}

const isEmpty = ({ pending }: ImportStatus) => pending === null || pending.size === 0;

const textOf = (bytes: Uint8Array) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
const bytesOf = (text: string) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
