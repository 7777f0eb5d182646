import type { ContainerID, LoroDoc, OpId, PeerID, TreeID } from "loro-crdt";
import { PerchError } from "../../errors.js";

/** An operation as Loro's JSON export writes it, as far as it matters here. */
export interface Operation {
  container: ContainerID;
  counter: number;
  content: {
    type: string;
    key?: string;
    value?: unknown;
    text?: string;
    len?: number;
    start?: number;
    end?: number;
    target?: TreeID;
    parent?: TreeID | null;
    elem_id?: string;
    start_id?: string;
  };
}

/** Operations of one peer, in order, without a gap. */
export interface Change {
  peer: PeerID;
  start: number;
  /** The operations it was made after, its peer's own before it among them. */
  deps: OpId[];
  ops: Operation[];
}

/**
 * Out: the operations `start` to `end` of a peer; undefined when an integer beyond 2^53 among them keeps them from being read, and it is
 * one that a JavaScript number equals. Errors: PE422 for one that it does not.
 */
export function readOperations(doc: LoroDoc, peer: PeerID, start: number, end: number): Change[] | undefined {
  try {
    const changes = doc.exportJsonInIdSpan({ peer, counter: start, length: end - start });
    return changes.map(({ id, deps, ops }) => {
      const first = parseId(id);
      return { peer: first.peer, start: first.counter, deps: deps.map(parseId), ops: ops as Operation[] };
    });
  } catch (error) {
    const integer = /^(?:Error: )?(-?\d+) can't be represented as a JavaScript number/.exec(String(error))?.[1];
    if (integer === undefined) throw error;
    if (BigInt(Number(integer)) === BigInt(integer)) return undefined;
    throw new PerchError("PE422", `the integer ${integer} cannot be kept exactly: write it as a decimal string`, {
      reason: "integer beyond 2^53",
      got: integer,
    });
  }
}

/** In: `counter@peer`. */
export function parseId(id: string): OpId {
  const [counter = "", peer = ""] = id.split("@");
  return { peer: peer as PeerID, counter: Number(counter) };
}
