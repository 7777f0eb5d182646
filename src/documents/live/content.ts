import { EngineLost } from "../../engine/engine.js";
import { isNotLoaded } from "../loro/api.js";
import type { DocumentEngine } from "../loro/engine.js";
import type { Fields } from "../loro/fields.js";
import type { StoredDocument } from "./stored.js";

/** How often a call is repeated whose thread was lost through no fault of its own. */
export const innocentAttempts = 6;

/** Whether a call failed only because its thread does not hold the document (any more): load it and call again. */
export function isLost(error: unknown): boolean {
  return error instanceof EngineLost || isNotLoaded(error);
}

/** The copy of one document in an engine thread. */
export interface Content {
  /** Whether the thread holds the document, as far as is known: it may have been evicted or lost since, then calls say so. */
  readonly loaded: boolean;
  /** Rises whenever what was imported and not committed was given up. */
  readonly generation: number;
  /** How long the last load took the engine. */
  readonly loadMs: number;
  load(stored: StoredDocument): Promise<void>;
  /** Whether the copy was loaded for other fields than these. */
  differs(fields: Fields): boolean;
  /** Takes over committed updates of others. Whatever goes wrong, the copy is then taken for lost and loaded again later. */
  follow(updates: readonly Uint8Array[]): Promise<void>;
  /** The copy is gone or stale. */
  unload(): void;
  /** The copy holds what was not committed: it is dropped, and what was imported into it counts no more. */
  discard(): void;
  /** Notes what an error says of the copy. */
  failed(error: unknown): void;
}

export function createContent(id: string, engine: DocumentEngine): Content {
  let loaded = false;
  let generation = 0;
  let declared = "";
  let loadMs = 0;

  function failed(error: unknown): void {
    const detail = (error as { detail?: { dropped?: unknown; reason?: unknown } } | null)?.detail;
    if (isLost(error) || detail?.dropped === true) loaded = false;
  }

  return {
    get loaded() {
      return loaded;
    },
    get generation() {
      return generation;
    },
    get loadMs() {
      return loadMs;
    },
    async load(stored) {
      const updates = stored.updates.map((update) => update.payload);
      for (let attempt = 1; ; attempt++) {
        try {
          await engine.call(id, "load", [id, stored.schema, stored.snapshot, updates, stored.ended], {
            spent: (ms) => {
              loadMs = ms;
            },
          });
          loaded = true;
          declared = JSON.stringify(stored.schema.fields);
          return;
        } catch (error) {
          if (!(error instanceof EngineLost) || attempt === innocentAttempts) throw error;
        }
      }
    },
    differs: (fields) => JSON.stringify(fields) !== declared,
    async follow(updates) {
      if (!loaded || updates.length === 0) return;
      try {
        await engine.call(id, "import", [id, updates]);
      } catch {
        loaded = false;
      }
    },
    unload() {
      loaded = false;
    },
    discard() {
      generation++;
      loaded = false;
      // A loaded copy replaces this one in any case; dropping it now only saves memory, so a failure does not matter.
      void engine.call(id, "drop", [id]).catch(() => undefined);
    },
    failed,
  };
}
