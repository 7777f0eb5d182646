import type { Queryable } from "../../database/types.js";
import { remember } from "../../lib/bounded-map.js";
import type { DocumentEngine } from "../loro/engine.js";
import { isShort, type Owned, ownersOf, peersHere, peersIn } from "../peer-owners.js";
import type { OpenDocument } from "./open-document.js";

/** Whose the peers of one document are, as far as its writers on this node have asked. See peer-owners.ts. */
export interface Owners {
  /** Out: undefined when that takes a look at the database. */
  remembered(updates: readonly Uint8Array[], userId: string): Owned | undefined;
  ask(updates: readonly Uint8Array[], userId: string): Promise<Owned>;
  /** An append of the user was committed, with these peers, which nobody had or which are theirs. */
  wrote(userId: string, peers: readonly string[]): void;
}

/** Peers remembered; the longest known are forgotten first. */
const maxRemembered = 2_000;

export function createOwners(open: OpenDocument, { db, engine }: { db: Queryable; engine: DocumentEngine }): Owners {
  let known = new Map<string, string>();
  let incarnation = open.state.incarnation;

  function current(): Map<string, string> {
    // What was known of an incarnation that is over says nothing.
    if (incarnation !== open.state.incarnation) known = new Map();
    incarnation = open.state.incarnation;
    return known;
  }

  return {
    remembered(updates, userId) {
      if (!isShort(updates)) return undefined;
      const peers = peersHere(updates);
      const owners = current();
      for (const peer of peers) if (owners.get(peer) !== userId) return undefined;
      return { foreign: [], own: [...peers] };
    },
    async ask(updates, userId) {
      const owned = await ownersOf(db, open.key, userId, await peersIn(engine, updates));
      return Date.now() < open.state.rejoinUntil ? { ...owned, foreign: [] } : owned;
    },
    wrote(userId, peers) {
      const owners = current();
      for (const peer of peers) remember(owners, peer, userId, maxRemembered);
    },
  };
}
