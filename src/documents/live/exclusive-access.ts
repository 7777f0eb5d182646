import type { Queryable } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import type { ServerPeer } from "../loro/api.js";
import type { DocumentEngine } from "../loro/engine.js";
import { innocentAttempts, isLost } from "../loro/lost.js";
import { peersIn } from "../peer-owners.js";
import { afterWriting, type ServerPeers } from "../server-peers.js";
import type { CatchUp } from "./catch-up.js";
import type { ExportCache, Exported } from "./export-cache.js";
import { fromStored } from "./from-stored.js";
import type { Loader } from "./loader.js";
import type { OpenDocument } from "./open-document.js";
import { readDocument, readMissed } from "./queries.js";
import type { ExclusiveDocument, MergeSession } from "./types.js";
import { isPacked, unpacked } from "./unpack.js";

export interface ExclusiveAccessParts {
  readonly db: Queryable;
  readonly engine: DocumentEngine;
  readonly catchUp: CatchUp;
  readonly exportCache: ExportCache;
  readonly loader: Loader;
  readonly peers: ServerPeers;
}

/** What can be done with a document by whoever has it for himself. */
export interface ExclusiveAccess extends ExclusiveDocument {
  /** Calls the engine, with the replica loaded; a replica that was lost is loaded again. */
  withReplica<T>(use: () => Promise<T>): Promise<T>;
  /**
   * The same as `exportFrom` gives, as far as it is at hand; undefined when it is not. Needs no exclusive access while no append is under way: see
   * states.ts.
   */
  atHand(version: Uint8Array): Exported | undefined;
  /** Reads what others appended, and gives it to the readers. */
  bringUpToDate(): Promise<void>;
  /** What a reader at a version (encoded) lacks of the present state. Errors: PE422 for a version that does not decode. */
  exportFrom(version: Uint8Array): Promise<Exported>;
}

export function createExclusiveAccess(open: OpenDocument, parts: ExclusiveAccessParts): ExclusiveAccess {
  const { db, engine, catchUp, exportCache, loader } = parts;
  const { id, key, replica } = open;
  const isLoaded = () => open.state.replica === "loaded";
  const isBehind = () => open.state.readers === "behind";
  /** Those of the merge under way. */
  let peers: readonly ServerPeer[] = [];

  async function retrying<T>(load: () => Promise<void>, use: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      if (!isLoaded()) await load();
      try {
        return await use();
      } catch (error) {
        replica.failed(error);
        if (!isLost(error) || attempt === innocentAttempts) throw error;
      }
    }
  }

  async function withReplica<T>(use: () => Promise<T>): Promise<T> {
    if (isBehind()) await loader.load();
    return retrying(loader.load, use);
  }

  const at = () => ({ id, at: open.at });

  /** The same state is the same for everybody who knows nothing: kept for the others who come. */
  function keeping(version: Uint8Array, exported: Exported | undefined): Exported | undefined {
    if (exported && knowsNothing(version)) exportCache.put(at(), exported);
    return exported;
  }

  function atHand(version: Uint8Array): Exported | undefined {
    if (isBehind()) return undefined;
    const kept = knowsNothing(version) ? exportCache.get(at()) : undefined;
    if (kept) return kept;
    const stored = loader.unused();
    return stored && keeping(version, fromStored(stored, version));
  }

  /** A document that has to be read anyway is given as it was read, if possible; else by the engine. */
  async function exportFrom(version: Uint8Array): Promise<Exported> {
    for (let attempt = 1; ; attempt++) {
      const exported = atHand(version);
      if (exported) return exported;
      if (isBehind() || !isLoaded()) {
        const stored = loader.unused() ?? (await loader.read());
        const asRead = keeping(version, fromStored(stored, version));
        if (asRead) return asRead;
        await loader.load();
      }
      try {
        const made = await replica.call("exportFrom", [version]);
        keeping(version, made);
        return made;
      } catch (error) {
        replica.failed(error);
        if (!isLost(error) || attempt === innocentAttempts) throw error;
      }
    }
  }

  /** Brings the replica to what the transaction sees: what others committed meanwhile. */
  async function follow(tx: Queryable, loadWithin: () => Promise<void>): Promise<void> {
    if (!isLoaded() || isBehind()) return loadWithin();
    const [latest] = await readMissed(tx, [{ key, after: open.at }]);
    if (!latest?.leadsOn) return loadWithin();
    await replica.follow(latest.updates.map((update) => update.payload));
  }

  async function bringUpToDate(own: boolean): Promise<void> {
    const before = open.at.seq;
    const heard = open.notifications.begin();
    try {
      const [latest] = await readMissed(db, [{ key, after: open.at }]);
      if (latest) await catchUp.take(latest);
    } catch (error) {
      open.notifications.failed(heard);
      throw error;
    }
    open.notifications.end(heard, open.at.seq);
    if (open.at.seq > before) open.moved(own);
  }

  async function redeclared(tx: Queryable): Promise<boolean> {
    return replica.differs((await readDocument(tx, key, open.at)).schema.fields);
  }

  return {
    withReplica,
    atHand,
    exportFrom,
    bringUpToDate: () => bringUpToDate(false),
    get position() {
      return open.at.seq;
    },
    load: () => withReplica(() => Promise.resolve()),
    async projectAt(version) {
      const { data } = await withReplica(() => replica.call("projectAt", [version]));
      return data;
    },
    async merge(tx, work) {
      /** What was merged and is not in the tail yet: a replica that is loaded anew needs it again. */
      const merged: Uint8Array[] = [];
      const within = async () => {
        loader.spare();
        await replica.load(await readDocument(tx, key));
        await replica.follow(merged);
      };
      await follow(tx, within);
      peers = parts.peers.take(id);
      /** What is refused may have been written for fields that were declared after the replica was loaded. */
      const trying = async <T>(use: () => Promise<T>): Promise<T> => {
        try {
          return await retrying(within, use);
        } catch (error) {
          if (!(error instanceof PerchError) || !(await redeclared(tx))) throw error;
          replica.unload();
          return retrying(within, use);
        }
      };
      const session: MergeSession = {
        async importUpdate(update, ownersOf) {
          const [plain = update] = isPacked([update]) ? await unpacked(engine, id, [update]) : [update];
          const owned = await ownersOf(await peersIn(engine, [plain]));
          const result = await trying(() => replica.call("import", [[plain], owned]));
          if (!result.changed) return { update: null, ends: null };
          const [stored = plain] = result.updates ?? [];
          merged.push(stored);
          return { update: stored, ends: result.ends };
        },
        async applyPatch(patch, base) {
          const { update, ends } = await trying(() => replica.call("patch", [patch, base, { peers }]));
          peers = afterWriting(peers, ends);
          if (!update) return { update: null, ends: null };
          merged.push(update);
          return { update, ends };
        },
      };
      return work(session);
    },
    async merged(committed) {
      const used = peers;
      peers = [];
      if (!committed) {
        replica.discard();
        return;
      }
      parts.peers.give(id, used);
      await bringUpToDate(true).catch((error: unknown) => {
        // It is committed all the same; readers get it by the next refresh.
        replica.unload();
        throw error;
      });
    },
  };
}

/** An empty version vector. */
function knowsNothing(version: Uint8Array): boolean {
  return version.byteLength === 1 && version[0] === 0;
}
