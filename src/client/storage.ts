/** Texts by key, kept on the device: what the adapters of `@tanstack/offline-transactions` are (IndexedDBAdapter, LocalStorageAdapter), and what an app can make itself. */
export interface DeviceStorage {
  get(key: string): Promise<string | null>;
  /** Resolves when it is kept. */
  set(key: string, value: string): Promise<void>;
  delete(key: string): Promise<void>;
  keys(): Promise<string[]>;
  clear(): Promise<void>;
}

/** Keeps nothing beyond the page: where there is no IndexedDB, and in tests. */
export function memoryStorage(values: Map<string, string> = new Map()): DeviceStorage {
  return {
    get: async (key) => values.get(key) ?? null,
    set: async (key, value) => void values.set(key, value),
    delete: async (key) => void values.delete(key),
    keys: async () => [...values.keys()],
    clear: async () => values.clear(),
  };
}
