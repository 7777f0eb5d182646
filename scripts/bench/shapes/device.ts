import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { CollectionConfig } from "@tanstack/db";
import { electricCollectionOptions } from "@tanstack/electric-db-collection";
import { createPerchClient } from "../../../src/client/index.js";
import { perchWrites, type RowSpec } from "../../../src/client/tanstack/index.js";

type Note = { id: string; team: string; title: string };

/** An app's bundler sees to it that all use one copy of TanStack DB; without one, it is the copy of who makes the collection's options. */
async function createCollectionOfOptions(): Promise<typeof import("@tanstack/db").createCollection> {
  const require = createRequire(fileURLToPath(import.meta.resolve("@tanstack/electric-db-collection")));
  const copy = new URL("dist/esm/index.js", pathToFileURL(require.resolve("@tanstack/db/package.json")));
  return ((await import(copy.href)) as typeof import("@tanstack/db")).createCollection;
}

/** Milliseconds from a mutation to each of what happens then, of each mutation. */
export interface DeviceTimes {
  /** Until it shows on the device that made it. */
  readonly visible: number[];
  /** Until the server has it, and its echo is there. */
  readonly acknowledged: number[];
  /** Until another device has it. */
  readonly echoed: number[];
}

/** One device writes rows of a synced table through a collection of TanStack DB, and another one follows. */
export async function deviceTimes(base: string, spec: RowSpec<Note>, count: number): Promise<DeviceTimes> {
  const createCollection = await createCollectionOfOptions();
  const deviceOf = (user: string) => {
    const client = createPerchClient({ url: base, token: user });
    return createCollection(
      electricCollectionOptions<Note>({
        id: `notes-${user}`,
        shapeOptions: {
          url: `${base}/v1/shape`,
          params: { table: spec.table },
          headers: { authorization: `Bearer ${user}` },
        },
        getKey: ({ id }) => id,
        ...perchWrites(client, spec),
        // The types are of another copy than ours.
      }) as unknown as CollectionConfig<Note, string>,
    );
  };
  const [mine, other] = [deviceOf("writer"), deviceOf("follower")];
  await Promise.all([mine.preload(), other.preload()]);
  const times: DeviceTimes = { visible: [], acknowledged: [], echoed: [] };
  const since = new Map<string, number>();
  const seen = new Map<string, () => void>();
  other.subscribeChanges((changes) => {
    for (const { key } of changes) {
      times.echoed.push(performance.now() - (since.get(key as string) ?? 0));
      seen.get(key as string)?.();
    }
  });
  for (let nth = 0; nth < count; nth++) {
    const id = `note-${nth}`;
    const echoed = new Promise<void>((resolve) => seen.set(id, resolve));
    const at = performance.now();
    since.set(id, at);
    const written = mine.insert({ id, team: "team", title: "Buy milk" });
    if (mine.has(id)) times.visible.push(performance.now() - at);
    await written.isPersisted.promise;
    times.acknowledged.push(performance.now() - at);
    await echoed;
  }
  await Promise.all([mine.cleanup(), other.cleanup()]);
  return times;
}
