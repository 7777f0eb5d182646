import { createCollection } from "@tanstack/db";
import type { PerchClient } from "../../../src/client/index.js";
import { perchCollectionOptions } from "../../../src/client/tanstack/index.js";
import { cleanup } from "../../gateway/support.js";

export interface Task {
  title: string;
  done?: boolean;
}

/** The tasks of ada's personal space, in sync; cleaned up after the test. */
export function tasksOf(client: PerchClient, spaceId: string | undefined = "~ada") {
  const collection = createCollection(
    perchCollectionOptions<Task>(client, { appId: "todo", table: "tasks", ...(spaceId !== undefined && { spaceId }) }),
  );
  cleanup(() => collection.cleanup());
  return collection;
}

export type Tasks = ReturnType<typeof tasksOf>;

export const row = (id: string, title = id): Task & { id: string; space_id: string } => ({
  id,
  space_id: "~ada",
  title,
});

/** Looks at something in every turn of the event loop, which is oftener than any frame. Out: ends it, and gives what was seen, and how often it looked. */
export function everyFrame<T>(look: () => T): () => { seen: T[]; frames: number } {
  const seen = new Set([look()]);
  let frames = 0;
  let ended = false;
  const again = () => {
    if (ended) return;
    seen.add(look());
    frames += 1;
    setImmediate(again);
  };
  setImmediate(again);
  cleanup(() => {
    ended = true;
  });
  return () => {
    ended = true;
    return { seen: [...seen], frames };
  };
}

/** Sends event streams through another address than everything else. */
export const streamsThrough =
  (url: string): typeof fetch =>
  (input, init) => {
    const target = String(input);
    return fetch(target.includes("/v1/changes") ? target.replace(/^http:\/\/[^/]+/, url) : target, init);
  };
