/**
 * `perch/loro`: Loro documents that are there without a network. What a document's editor and the official Loro client do stays as it is.
 * @module
 */
import { decodeImportBlobMeta, type ImportStatus, type LoroDoc, type PeerID, type VersionVector } from "loro-crdt";
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
  readonly bytes: Uint8Array;
  readonly isShallow: boolean;
  /** Of each peer the operations from the one counter up to the other. */
  readonly starts: ReadonlyMap<PeerID, number>;
  readonly ends: ReadonlyMap<PeerID, number>;
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
  let kept = versionOf(doc, new Map());
  const loading = load(doc, storage, prefix, (error) => onError?.(error)).then((held) => {
    pieces = held.map(({ name }) => name);
    kept = versionOf(doc, countersIn(held));
  });
  let work: Promise<void> = loading;
  let failures = 0;

  async function put(bytes: Uint8Array): Promise<string> {
    const name = `${prefix}${newId()}`;
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
    pieces = [await put(doc.export({ mode: "snapshot" }))];
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
      const piece = text === null ? undefined : pieceOf(name, text, onError);
      if (piece !== undefined) waiting.push(piece);
    }
    if (waiting.length === 0) continue;
    // A shallow snapshot is taken by a document that has nothing that builds on it, and in no batch.
    const firsts = waiting.filter(({ isShallow }) => isShallow);
    for (const { bytes } of firsts) doc.import(bytes);
    const rest = waiting.filter(({ isShallow }) => !isShallow);
    const isWhole = firsts.length === 0 && isEmpty(doc.importBatch(rest.map(({ bytes }) => bytes)));
    waiting = [...firsts, ...rest].filter((piece) => {
      // What the document has already is taken as nothing, and what it cannot take yet is pending again.
      const isHeld = isWhole || isEmpty(doc.import(piece.bytes));
      if (isHeld) held.push(piece);
      return !isHeld;
    });
  }
}

/** Of no document whose key begins with this one's. */
const isPiece = (name: string, prefix: string) =>
  name.startsWith(prefix) && /^[0-9a-f]{32}$/.test(name.slice(prefix.length));

/** Out: undefined for one that is damaged, which is told and does not keep the others from being read. */
function pieceOf(name: string, text: string, onError: (error: unknown) => void): Piece | undefined {
  try {
    const bytes = bytesOf(text);
    const { mode, partialStartVersionVector, partialEndVersionVector } = decodeImportBlobMeta(bytes, true);
    const isSnapshot = mode.endsWith("snapshot");
    return {
      name,
      bytes,
      isShallow: mode === "shallow-snapshot",
      // Before the first operation of a shallow snapshot is its state.
      starts: isSnapshot ? new Map() : partialStartVersionVector.toJSON(),
      ends: partialEndVersionVector.toJSON(),
    };
  } catch (cause) {
    onError(new Error(`${name} in the storage is damaged, and left out of its document`, { cause }));
    return undefined;
  }
}

/** What pieces hold without a gap: a document that has them all may have more, of which a piece is still to be made. */
function countersIn(pieces: readonly Piece[]): Map<PeerID, number> {
  const version = new Map<PeerID, number>();
  for (let grew = true; grew; ) {
    grew = false;
    for (const { starts, ends } of pieces)
      for (const [peer, end] of ends) {
        const known = version.get(peer) ?? 0;
        if (end <= known || (starts.get(peer) ?? 0) > known) continue;
        version.set(peer, end);
        grew = true;
      }
  }
  return version;
}

/** Of the document's own class: an app may have another copy of Loro than this module. */
function versionOf(doc: LoroDoc, counters: Map<PeerID, number>): VersionVector {
  const Version = doc.oplogVersion().constructor as new (counters: Map<PeerID, number>) => VersionVector;
  return new Version(counters);
}

/** Whether the document can say all that came after a version: a shallow one does not know what was before its beginning. */
function follows(doc: LoroDoc, version: VersionVector): boolean {
  if (version.length() === 0) return false;
  const order = version.compare(doc.shallowSinceVV());
  return order !== undefined && order >= 0;
}

const isEmpty = ({ pending }: ImportStatus) => pending === null || pending.size === 0;

const textOf = (bytes: Uint8Array) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
const bytesOf = (text: string) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
