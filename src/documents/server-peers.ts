import { remember } from "../lib/bounded-map.js";
import type { Ends, ServerPeer } from "./loro/api.js";

/*
 * Loro peers that perch itself writes under, kept for reuse.
 *
 * Each patch used to be a new peer, and a document keeps every peer there ever was: in its snapshot, in its version vector, and in the time
 * that each later import takes. So a peer that wrote a patch of a document writes the next one too.
 *
 * Two different operations under one id (peer and counter) are the one thing that must never be: replicas that know the one ignore the
 * other without a word. Operations of a peer in here are safe from that, because
 *
 *   one writer      A peer is drawn at random by one process, is in one of these collections, and whoever writes under it has
 *                   taken it out: two processes, two stores, a store and a worker, two transactions never have the same.
 *   all or nothing  `end` is the counter behind the last operation that was ever made under it, whether or not it was committed. An
 *                   engine writes under it only where its replica has the peer's operations up to exactly `end`. A replica shows what is
 *                   committed, and besides what the transaction at hand wrote. Nothing that was made is then missing from it: nothing was
 *                   rolled back, nothing is on its way, and nothing was lost by a database that went back to an earlier state.
 *   in order        The version that a patch is made at must have all of that, too: a peer's operation is made after its ones before.
 *
 * Whoever knows that a transaction failed, or does not know how it ended, gives no peer back. Whoever is never told (DocumentStore)
 * gives it back at once: should the transaction be rolled back, no replica will have the peer's operations up to `end` any more.
 * What others write in between, another load of the replica, or another engine thread do no harm, since all of that is compared at each
 * use. A process that starts draws new peers, so their number grows with restarts, and not with patches; of patches of earlier versions,
 * which need a peer of their own each, so many are made like that as a document has room for (loro/rebase.ts).
 */
export interface ServerPeers {
  /** Takes the peers of a document out: nobody else has them meanwhile. */
  take(id: string): readonly ServerPeer[];
  /** Gives them back, those used last first. */
  give(id: string, peers: readonly ServerPeer[]): void;
}

/** The upper bits of perch's own peers: to be told from those of clients, of whom one in 2^28 has them by chance. */
const tag = 0x7065726n;
const tagAt = 36n;

export function isServerPeer(peer: string): boolean {
  return BigInt(peer) >> tagAt === tag;
}

/** In: random bits. */
export function serverPeer(random: bigint): string {
  return `${(tag << tagAt) | (random & ((1n << tagAt) - 1n))}`;
}

/** Several are in use where patches are made at versions of their own, which lack each other's operations. */
const maxPeers = 32;
/** Documents remembered; the longest unused are forgotten first. */
const maxDocuments = 20_000;

export function createServerPeers(): ServerPeers {
  const known = new Map<string, readonly ServerPeer[]>();
  return {
    take(id) {
      const peers = known.get(id) ?? [];
      known.delete(id);
      return peers;
    },
    give(id, peers) {
      const others = known.get(id) ?? [];
      remember(known, id, [...peers, ...others].slice(0, maxPeers), maxDocuments);
    },
  };
}

/** In: where the operations end that an engine has made, if any. Out: the peers as they are now, the one that was used first. */
export function afterWriting(peers: readonly ServerPeer[], made: Ends): readonly ServerPeer[] {
  const used = Object.entries(made).map(([peer, end]) => ({ peer, end }));
  return [...used, ...peers.filter(({ peer }) => made[peer] === undefined)];
}
