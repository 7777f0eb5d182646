import type { Queryable } from "../database/types.js";
import type { DocumentKey } from "./key.js";
import type { DocumentEngine } from "./loro/engine.js";
import { blobSpans } from "./loro/format/spans.js";
import { askApart } from "./loro/lost.js";
import { isServerPeer } from "./server-peers.js";

/*
 * Whose a Loro peer is.
 *
 * Loro knows an operation by its peer and counter. Peers are random numbers, and stand in every document for all to read: whoever writes under
 * another's makes operations of the same names as those that the other is about to write. Replicas that have the one take the other for
 * known: words are lost without an error, and replicas differ for ever. So a peer belongs to whoever wrote under it first in a document
 * (`perch.peer_authors`: every update is stored with its author and with where its operations end), and
 *
 *   new operations under it are taken from its owner.
 *   From others they are refused while the owner may be writing: until a minute has gone since the owner's last. An owner who types is
 *   never overtaken, on whichever node, because the answer comes from the database and the peer's first operation was in there before anybody could
 *   know its number.
 *   Nor are they refused for a minute after a node found that the database went back to an earlier state of the document: each of its writers
 *   then brings what was lost, of the others too, and what one wrote since may build on it; waiting for each other they would wait for ever.
 *   After that they are taken: they are what others wrote and somebody hands on, as a client does that brings a restored document what
 *   it lost, or that exchanged edits with others offline. They are stored as sent by whoever sent them. Operations that are there already
 *   are no new ones, and pass from anybody at any time.
 *   Should the owner come later with other operations of the same names, they are not taken for known: they are kept as edits under a peer of
 *   perch's own (see `keepApart` in loro/reuse.ts), and the owner is told to begin from the server's document.
 *   Peers of perch's own belong to no user: whoever patched the document through them.
 *
 * Nothing is written down for this besides what every update has, and what a process remembers is bounded by the writers of open documents.
 */

const latelyMs = 60_000;
/** What is larger is looked at in an engine's thread. */
const maxReadHere = 64 * 1024;

/** The peers of which updates say that they hold operations. Errors: PE422 when their headers cannot be read. */
export async function peersIn(engine: DocumentEngine, updates: readonly Uint8Array[]): Promise<Set<string>> {
  if (updates.some((update) => update.byteLength > maxReadHere)) {
    return new Set((await askApart(engine, "reading headers", "peers", updates)).peers);
  }
  return peersHere(updates);
}

/** The same at once, of few bytes. */
export function peersHere(updates: readonly Uint8Array[]): Set<string> {
  return new Set(updates.flatMap((update) => [...blobSpans(update).keys()]));
}

export const isShort = (updates: readonly Uint8Array[]) =>
  updates.reduce((sum, update) => sum + update.byteLength, 0) <= maxReadHere;

export interface Owned {
  /** Under these the user may write nothing new. */
  readonly foreign: readonly string[];
  /** Not these: they are the user's, or nobody's yet. */
  readonly own: readonly string[];
}

interface OwnerRow {
  peer: string;
  user_id: string;
  idle_ms: number;
}

const ownersSql =
  "select * from perch.peer_authors(space_id => $1, app_id => $2, table_name => $3, record_id => $4, peers => $5)";

/** In: a connection, or transaction, with the rights of the worker. */
export async function ownersOf(
  db: Queryable,
  { spaceId, appId, tableName, recordId }: DocumentKey,
  userId: string,
  peers: Iterable<string>,
): Promise<Owned> {
  const asked = [...peers];
  if (asked.length === 0) return { foreign: [], own: [] };
  const rows = await db.query<OwnerRow>(ownersSql, [spaceId, appId, tableName, recordId, asked]);
  const others = rows.filter((row) => isServerPeer(row.peer) || row.user_id !== userId);
  const known = new Set(others.map(({ peer }) => peer));
  return {
    foreign: others.flatMap(({ peer, idle_ms }) => (idle_ms > latelyMs ? [] : [peer])),
    own: asked.filter((peer) => !known.has(peer) && !isServerPeer(peer)),
  };
}
