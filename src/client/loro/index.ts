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
   * out: `clear()`.
   */
  storage: DeviceStorage;
  /**
   * Joins the document's room: `() => socket.join({ roomId, crdtAdaptor: new LoroAdaptor(doc), auth })`. The official client waits for a network by
   * itself, and joins again when it was away; what it gives up (the token has expired, say) is tried again here.
   */
  join?: () => Promise<unknown>;
  /** Told why the room could not be joined, or what could not be kept: both are tried again. */
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

/**
 * Loads what the device has of a document into it, and from then on keeps what comes to it: the user's edits at once, the others' as they
 * arrive. Resolves when it is loaded, which needs no network.
 *
 * A piece is never overwritten and only removed once a snapshot that holds it is kept; and by a tab that read or wrote it and has all of it, so that
 * tabs with the same document open do not take each other's. After a crash in between a piece is there twice, and Loro takes each operation once.
 */
export async function keepDocument(doc: LoroDoc, { key, storage, join, onError }: KeepOptions): Promise<KeptDocument> {
  const prefix = `${key}/`;
  const isNews = doc.opCount() > 0;
  /** What is kept on the device and is in the document: of nothing else may a snapshot take the place. */
  const pieces = await load(doc, storage, prefix);
  const stop = new AbortController();
  let kept: VersionVector = doc.version();
  let work: Promise<void> = Promise.resolve();
  let failures = 0;

  async function put(bytes: Uint8Array): Promise<void> {
    const name = `${prefix}${newId()}`;
    await storage.set(name, textOf(bytes));
    pieces.push(name);
  }

  async function save(): Promise<void> {
    doc.commit();
    const version = doc.version();
    // Undefined: each has what the other lacks, which a version that only grows never comes to.
    if (version.compare(kept) === 0) return;
    await put(doc.export({ mode: "update", from: kept }));
    kept = version;
    if (pieces.length < maxPieces) return;
    const old = pieces.splice(0);
    await put(doc.export({ mode: "snapshot" }));
    for (const each of old) await storage.delete(each);
  }

  /** One save after the other. What fails is reported, and tried again after a pause, or with the next edit. */
  function saveSoon(): void {
    work = work.then(save).then(
      () => {
        failures = 0;
      },
      async (error: unknown) => {
        onError?.(error);
        const pause = pauseMs(failures, 100, 10_000);
        failures += 1;
        void sleep(pause, stop.signal).then(() => stop.signal.aborted || saveSoon());
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

  // What was in it before may be on no device.
  if (isNews) await put(doc.export({ mode: "snapshot" }));
  const unsubscribe = doc.subscribe(saveSoon);
  return {
    joined: joining(),
    async saved() {
      await work;
      await save();
    },
    async close() {
      stop.abort();
      unsubscribe();
      await work;
      await save();
    },
  };
}

/**
 * Takes all pieces into the document. Out: the names of those that it holds; of others something is missing that they build on.
 *
 * What is listed may be gone when it is read, and what builds on it is there: another tab made them one snapshot, which stands in the next list. So
 * it is listed until there is nothing new; no name comes twice.
 */
async function load(doc: LoroDoc, storage: DeviceStorage, prefix: string): Promise<string[]> {
  const seen = new Set<string>();
  const held: string[] = [];
  let waiting: [name: string, bytes: Uint8Array][] = [];
  for (;;) {
    const names = (await storage.keys()).filter((each) => each.startsWith(prefix) && !seen.has(each));
    if (names.length === 0) return held;
    const texts = await Promise.all(names.map((each) => storage.get(each)));
    for (const [nth, name] of names.entries()) {
      const text = texts[nth] ?? null;
      seen.add(name);
      if (text !== null) waiting.push([name, bytesOf(text)]);
    }
    if (waiting.length === 0) continue;
    const isWhole = isEmpty(doc.importBatch(waiting.map(([, bytes]) => bytes)));
    waiting = waiting.filter(([name, bytes]) => {
      // What the document has already is taken as nothing, and what it cannot take yet is pending again.
      const isHeld = isWhole || isEmpty(doc.import(bytes));
      if (isHeld) held.push(name);
      return !isHeld;
    });
  }
}

const isEmpty = ({ pending }: ImportStatus) => pending === null || pending.size === 0;

const textOf = (bytes: Uint8Array) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
const bytesOf = (text: string) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
