import { type Call, type Change, type DeviceStorage, exactJson, type PerchError } from "../index.js";

/** What the server refused: taken out of the queue, and kept until the app has shown it. */
export interface SetAside {
  id: string;
  changes: (Change | Call)[];
  /** Why, as the server said it. */
  error: { code: string; message: string; detail: unknown; hint?: string | undefined };
  at: string;
}

const prefix = "aside/";

/** What was refused, on the device. In: who is told of what cannot be read. */
export function createAside(storage: DeviceStorage, onError: (error: unknown) => void) {
  function read(text: string | null): SetAside | undefined {
    try {
      return text === null ? undefined : (exactJson.parse(text) as SetAside);
    } catch (cause) {
      onError(new Error("something that the server refused was damaged on the device, and is left out", { cause }));
      return undefined;
    }
  }
  return {
    /** Resolves when it is kept. */
    async put(id: string, changes: (Change | Call)[], { code, message, detail, hint }: PerchError): Promise<SetAside> {
      const entry: SetAside = { id, changes, error: { code, message, detail, hint }, at: new Date().toISOString() };
      await storage.set(prefix + id, exactJson.stringify(entry));
      return entry;
    },
    get: async (id: string): Promise<SetAside | undefined> => read(await storage.get(prefix + id)),
    async list(): Promise<SetAside[]> {
      const keys = (await storage.keys()).filter((key) => key.startsWith(prefix));
      const found = await Promise.all(keys.map((key) => storage.get(key)));
      return found.flatMap((text) => read(text) ?? []).sort((a, b) => (a.at < b.at ? -1 : 1));
    },
    /** Also what is left of it in a queue, which would be sent again as if it had not been refused. */
    async discard(id: string): Promise<void> {
      const left = (await storage.keys()).filter((key) => key.endsWith(`/tx:${id}`));
      for (const key of left) await storage.delete(key);
      await storage.delete(prefix + id);
    },
  };
}
