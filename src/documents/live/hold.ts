import type { Queryable } from "../../database/types.js";
import type { DocumentEngine } from "../loro/engine.js";
import { innocentAttempts, isLost } from "./content.js";
import type { DocumentNews } from "./news.js";
import type { DocumentState } from "./state.js";
import { readDocument, readNews } from "./stored.js";
import type { HeldDocument, MergeSession } from "./types.js";

export interface HoldParts {
  readonly db: Queryable;
  readonly engine: DocumentEngine;
  readonly news: DocumentNews;
  /** Builds the copy from what is committed, and gives readers what they lack. */
  load(): Promise<void>;
  /** The size of a snapshot just made. */
  snapshotBytes(bytes: number): void;
}

/** What can be done with a document by whoever has it for himself. */
export interface Hold extends HeldDocument {
  /** Calls the engine, with the copy loaded; a copy that was lost is loaded again. */
  withCopy<T>(use: () => Promise<T>): Promise<T>;
}

export function createHold(state: DocumentState, parts: HoldParts): Hold {
  const { db, engine, news } = parts;
  const { id, key, content } = state;

  async function retrying<T>(load: () => Promise<void>, use: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      if (!content.loaded) await load();
      try {
        return await use();
      } catch (error) {
        content.failed(error);
        if (!isLost(error) || attempt === innocentAttempts) throw error;
      }
    }
  }

  async function withCopy<T>(use: () => Promise<T>): Promise<T> {
    if (state.behind) await parts.load();
    return retrying(parts.load, use);
  }

  /** The copy as the transaction sees the document: with what others committed, and with what it merged itself. */
  async function loadWithin(tx: Queryable): Promise<void> {
    await content.load(await readDocument(tx, key));
  }

  async function follow(tx: Queryable): Promise<void> {
    if (!content.loaded || state.behind) return loadWithin(tx);
    const [latest] = await readNews(tx, [{ key, afterSeq: state.position }]);
    if (
      !latest ||
      latest.lifeSeq > state.position ||
      latest.headSeq < state.position ||
      latest.tailFrom > state.position
    ) {
      return loadWithin(tx);
    }
    await content.follow(latest.updates.map((update) => update.payload));
  }

  return {
    withCopy,
    get position() {
      return state.position;
    },
    async project() {
      const { data } = await withCopy(() => engine.call(id, "project", [id]));
      return data;
    },
    async snapshot() {
      const { snapshot } = await withCopy(() => engine.call(id, "snapshot", [id]));
      parts.snapshotBytes(snapshot.byteLength);
      return snapshot;
    },
    async merge(tx, work) {
      await follow(tx);
      const within = () => loadWithin(tx);
      const session: MergeSession = {
        importUpdate: async (update) => {
          const { changed } = await retrying(within, () => engine.call(id, "import", [id, [update]]));
          return changed;
        },
        applyPatch: async (patch, base) => {
          const { update } = await retrying(within, () => engine.call(id, "patch", [id, patch, base]));
          return update;
        },
      };
      return work(session);
    },
    async merged(committed) {
      if (!committed) {
        content.discard();
        return;
      }
      const before = state.position;
      try {
        const [latest] = await readNews(db, [{ key, afterSeq: before }]);
        if (latest) await news.take(latest);
      } catch (error) {
        // It is committed all the same; readers get it by the next refresh.
        content.unload();
        throw error;
      }
      if (state.position > before) state.moved(true);
    },
  };
}
