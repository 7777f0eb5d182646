import type { CollectionConfig, SyncConfig, SyncConfigRes } from "@tanstack/db";
import type { DeviceStorage } from "../index.js";
import { plainRow, type Row, rowOfPlain } from "./plain.js";

export interface KeepOptions {
  /** Of the user who is signed in, and of nobody else: the one that the outbox is given, whose `signOut` takes the rows off the device, too. */
  storage: DeviceStorage;
  /** Of what the rows look like: rows that were kept under another one are not shown. */
  version?: string;
  /** How soon what has come is kept; default 1000. */
  saveMs?: number;
  /** Of the text of all rows; what is longer is not kept. Default 5,000,000. */
  maxLength?: number;
  /** Told why rows are not kept. */
  onFailed?: (error: unknown) => void;
}

// biome-ignore lint/suspicious/noExplicitAny: collections of rows of all kinds
type AnyConfig = CollectionConfig<any, any, any, any>;
type Key = string | number;
type Sync = SyncConfig<Row, Key>["sync"];

/** What is being written now. */
const writing = new WeakMap<DeviceStorage, Set<Promise<void>>>();

/** Resolves when no row is being written to this storage. */
export async function savesEnded(storage: DeviceStorage): Promise<void> {
  await Promise.all(writing.get(storage) ?? []);
}

/**
 * Keeps the rows of a collection on the device: after a reload without a network they show, as they were. `createCollection(keepRows(options,
 * { storage }))`, around `electricCollectionOptions` or `perchCollectionOptions` with an `id`.
 *
 * All rows are one text, so that what is kept is one moment of the collection, never half a transaction; that is for lists of some thousands of
 * rows. They are what is shown until the collection has synced, and nothing else: it begins as ever, and with its first whole state, in one
 * step, rows that are gone go. What the user did and has not been pushed is the outbox's.
 */
export function keepRows<Config extends AnyConfig>(config: Config, options: KeepOptions): Config {
  const { storage, version = "", saveMs = 1_000, maxLength = 5_000_000, onFailed } = options;
  if (config.id === undefined) throw new Error("keepRows needs an id of the collection: its rows are kept under it");
  const name = `rows/${config.id}`;
  const keyOf = config.getKey as (row: Row) => Key;
  const isFull = config.sync.rowUpdateMode === "full";

  const sync: Sync = (params) => {
    /** What was synced, with what is not committed yet. */
    let rows = new Map<Key, Row>();
    /** Rows that were kept and of which the server has said nothing. */
    const unconfirmed = new Set<Key>();
    let isTouched = false;
    let isWhole = false;
    let isOver = false;
    let timer: ReturnType<typeof setTimeout> | undefined;

    async function load(): Promise<void> {
      const text = await storage.get(name);
      // What has come from the server is newer.
      if (text === null || isTouched || isOver) return;
      const kept = JSON.parse(text) as { version: string; rows: Row[] };
      if (kept.version !== version) return;
      params.begin();
      for (const row of kept.rows.map(rowOfPlain)) {
        unconfirmed.add(keyOf(row));
        rows.set(keyOf(row), row);
        params.write({ type: "insert", value: row });
      }
      params.commit();
      params.markReady();
    }

    async function save(): Promise<void> {
      timer = undefined;
      const text = JSON.stringify({ version, rows: [...rows.values()].map(plainRow) });
      const saved = (text.length > maxLength ? storage.delete(name) : storage.set(name, text)).catch(failed);
      const all = writing.get(storage) ?? new Set();
      writing.set(storage, all.add(saved));
      await saved;
      all.delete(saved);
      if (text.length > maxLength)
        failed(
          new Error(
            `the rows of ${config.id} are longer than ${maxLength} letters and not kept on the device; ask for fewer (a filter, fewer columns), or raise maxLength`,
          ),
        );
    }

    const failed = (error: unknown) => onFailed?.(error);
    const changed = () => {
      if (isWhole && !isOver) timer ??= setTimeout(() => void save().catch(failed), saveMs);
    };

    const inner = (config.sync.sync as Sync)({
      ...params,
      begin(...given: []) {
        isTouched = true;
        params.begin(...given);
      },
      write(message) {
        const { type, key: given, value } = message as { type: string; key?: Key; value?: Row };
        const key = given ?? keyOf(value as Row);
        const isKept = unconfirmed.delete(key);
        if (value === undefined || type === "delete") rows.delete(key);
        else rows.set(key, type === "update" && !isFull ? { ...rows.get(key), ...value } : value);
        params.write(isKept && type === "insert" && value !== undefined ? { type: "update", value } : message);
      },
      commit(...given) {
        const applied = params.commit(...given);
        changed();
        return applied;
      },
      truncate(...given) {
        rows = new Map();
        unconfirmed.clear();
        params.truncate(...given);
      },
      markReady() {
        isTouched = true;
        isWhole = true;
        if (unconfirmed.size > 0) {
          params.begin();
          for (const key of unconfirmed) {
            rows.delete(key);
            params.write({ type: "delete", key });
          }
          unconfirmed.clear();
          params.commit();
        }
        changed();
        params.markReady();
      },
    });
    load().catch(failed);

    const result: SyncConfigRes = typeof inner === "function" ? { cleanup: inner } : (inner ?? {});
    return {
      ...result,
      cleanup() {
        isOver = true;
        clearTimeout(timer);
        result.cleanup?.();
      },
    };
  };
  return { ...config, sync: { ...config.sync, sync } };
}
