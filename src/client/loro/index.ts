/**
 * `perch/loro`: Loro documents that are there without a network. What a document's editor and the official Loro client do stays as it is.
 * @module
 */
import type { ImportStatus, LoroDoc, VersionVector } from "loro-crdt";
import { type DeviceStorage, newId } from "../index.js";
import { pauseMs, sleep, unlessAborted, within } from "../waiting.js";

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
/** How often it is looked whether something came to a document that shows an earlier version. */
const detachedMs = 250;
/** For so long a storage that does not answer is waited for at the end. */
const closeMs = 10_000;

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
  const told = (error: unknown) => tell(onError, error);
  const loaded = await load(doc, storage, prefix, told);
  /** What is kept on the device and is in the document: of nothing else may a snapshot take the place. */
  const pieces = loaded.held.map(({ name }) => name);
  /** Pieces of which one did. */
  const replaced: string[] = [];
  /** What the pieces hold, and nothing that came to the document meanwhile: from there on it is still to be kept. */
  let kept = loaded.version;
  let work: Promise<void> = Promise.resolve();
  let failures = 0;
  let isDue = false;

  async function put(bytes: Uint8Array, kind = ""): Promise<string> {
    const name = `${prefix}${newId()}${kind}`;
    await storage.set(name, textOf(bytes));
    return name;
  }

  async function save(): Promise<void> {
    // An empty commit would take what the app says of its next one.
    if (doc.getPendingTxnLength() > 0) doc.commit();
    // What the document has, also while it shows an earlier version.
    const version = doc.oplogVersion();
    if (version.compare(kept) === 0) return;
    // What a shallow document could not take builds on what was before its beginning, which its snapshot would not have.
    const isReplaceable = !(doc.isShallow() && loaded.isPartial);
    if (follows(doc, kept)) {
      pieces.push(await put(doc.export({ mode: "update", from: kept })));
      kept = version;
      if (pieces.length < maxPieces || !isReplaceable) return;
    }
    const snapshot = await put(doc.export({ mode: "snapshot" }), snapshotMark);
    kept = version;
    if (isReplaceable) replaced.push(...pieces.splice(0));
    pieces.push(snapshot);
    for (const each of replaced.splice(0)) {
      await storage.delete(each).catch((error: unknown) => {
        // All is kept: it goes with the next ones.
        replaced.push(each);
        told(error);
      });
    }
  }

  /** One save after the other. */
  function saveNow(): Promise<void> {
    const saved = work.then(save);
    work = saved.catch(() => undefined);
    return saved;
  }

  /** What fails is reported, and tried again after a pause. */
  async function saveSoon(): Promise<void> {
    if (isDue) return;
    isDue = true;
    if (failures > 0) await sleep(pauseMs(failures - 1, 100, 10_000), stop.signal);
    isDue = false;
    if (stop.signal.aborted) return;
    try {
      await saveNow();
      failures = 0;
    } catch (error) {
      failures += 1;
      told(error);
      void saveSoon();
    }
  }

  async function joining(): Promise<void> {
    for (let attempt = 0; join !== undefined; attempt++) {
      try {
        await unlessAborted(join(), stop.signal);
        return;
      } catch (error) {
        if (!stop.signal.aborted) {
          told(error);
          await sleep(pauseMs(attempt, 500, 30_000), stop.signal);
        }
        if (stop.signal.aborted) throw new Error("the document was closed before its room was joined");
      }
    }
  }

  const joined = joining();
  joined.catch(() => undefined);
  // Not before it is loaded: Loro would work out what changed by that. What was typed meanwhile is what kept does not have.
  const unsubscribe = doc.subscribe(() => void saveSoon());
  // What comes to a document that shows an earlier version is no event.
  const timer = setInterval(() => doc.isDetached() && void saveSoon(), detachedMs);
  (timer as { unref?: () => void }).unref?.();
  void saveSoon();
  return {
    joined,
    saved: saveNow,
    close() {
      stop.abort();
      clearInterval(timer);
      unsubscribe();
      return within(closeMs, saveNow);
    },
  };
}

/** What a callback of the app's throws is the app's. */
function tell(callback: ((error: unknown) => void) | undefined, error: unknown): void {
  try {
    callback?.(error);
  } catch (thrown) {
    console.error(thrown);
  }
}

interface Loaded {
  /** What the document holds; of others something is missing that they build on. */
  readonly held: readonly Piece[];
  readonly isPartial: boolean;
  /** What these pieces hold. */
  readonly version: VersionVector;
}

/**
 * Takes all pieces into the document.
 *
 * What is listed may be gone when it is read, and what builds on it is there: another tab made them one snapshot, which stands in the next list. So
 * it is listed until there is nothing new; no name comes twice.
 */
async function load(
  doc: LoroDoc,
  storage: DeviceStorage,
  prefix: string,
  onError: (error: unknown) => void,
): Promise<Loaded> {
  let version = doc.oplogVersion();
  let isAlone = doc.opCount() === 0;
  const seen = new Set<string>();
  const held: Piece[] = [];
  let waiting: Piece[] = [];
  for (;;) {
    const names = (await storage.keys()).filter((each) => isPiece(each, prefix) && !seen.has(each));
    if (names.length === 0)
      return { held, isPartial: waiting.length > 0, version: isAlone ? version : versionIn(held, doc) };
    const texts = await Promise.all(names.map((each) => storage.get(each)));
    for (const [nth, name] of names.entries()) {
      const text = texts[nth] ?? null;
      seen.add(name);
      if (text !== null) waiting.push({ name, text });
    }
    // Something else than pieces came to it.
    isAlone &&= doc.oplogVersion().compare(version) === 0;
    const taken = takeAll(doc, waiting, onError);
    version = doc.oplogVersion();
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
      // Of a shallow document: from before its beginning.
      if (/shallow/i.test(String(cause))) waiting.push(piece);
      else onError(new Error(`${piece.name} in the storage is damaged, and left out of its document`, { cause }));
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

/** Many letters at a time, but not more than a call takes arguments. */
function textOf(bytes: Uint8Array): string {
  let letters = "";
  for (let at = 0; at < bytes.length; at += 8_192) letters += String.fromCharCode(...bytes.subarray(at, at + 8_192));
  return btoa(letters);
}

function bytesOf(text: string): Uint8Array {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
  return bytes;
}
