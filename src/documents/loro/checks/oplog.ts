import type { ContainerID, LoroDoc, OpId, PeerID, TreeID } from "loro-crdt";
import { PerchError } from "../../../errors.js";
import { scalarRootId } from "../layout.js";

/** An operation as Loro's JSON export writes it, as far as it matters here. */
export interface LoroOperation {
  container: ContainerID;
  counter: number;
  content: {
    type: string;
    key?: string;
    pos?: number;
    value?: unknown;
    text?: string;
    len?: number;
    start?: number;
    end?: number;
    target?: TreeID;
    parent?: TreeID | null;
    fractional_index?: string;
    elem_id?: string;
    start_id?: string;
  };
}

/** Items of a text or list, by the operations that made them. */
interface NamedItems {
  peer: PeerID;
  start: number;
  end: number;
}

/** Operations of one peer, in order, without a gap. */
export interface LoroChange {
  peer: PeerID;
  start: number;
  /** The operations it was made after, its peer's own before it among them. */
  deps: OpId[];
  ops: LoroOperation[];
  /** What operations that it was not made after have deleted; once it was asked for. */
  deletedSince?: NamedItems[];
}

/** The type of an operation that could not be read, for an integer beyond 2^53 in it. Of such, nothing else is known. */
export const unreadable = "unreadable";

/** The integer beyond 2^53 for which operations cannot be exported as JSON; undefined of any other error. */
export function unreadableInteger(error: unknown): string | undefined {
  return /^(?:Error: )?(-?\d+) can't be represented as a JavaScript number/.exec(String(error))?.[1];
}

/**
 * Out: the operations `start` to `end` of a peer. Errors: PE422 when one holds an integer beyond 2^53 that no JavaScript number equals.
 */
export function readOperations(doc: LoroDoc, peer: PeerID, start: number, end: number): LoroChange[] {
  if (start >= end) return [];
  try {
    const changes = doc.exportJsonInIdSpan({ peer, counter: start, length: end - start });
    return changes.map(({ id, deps, ops }) => {
      const first = parseId(id);
      return { peer: first.peer, start: first.counter, deps: deps.map(parseId), ops: ops as LoroOperation[] };
    });
  } catch (error) {
    const integer = unreadableInteger(error);
    if (integer === undefined) throw error;
    if (BigInt(Number(integer)) !== BigInt(integer)) {
      throw new PerchError("PE422", `the integer ${integer} cannot be kept exactly: write it as a decimal string`, {
        reason: "integer beyond 2^53",
        got: integer,
      });
    }
    if (end - start > 1) {
      // One such integer hides all the operations around it: look for it, to read the others.
      const middle = (start + end) >> 1;
      return [...readOperations(doc, peer, start, middle), ...readOperations(doc, peer, middle, end)];
    }
    const op: LoroOperation = { container: scalarRootId, counter: start, content: { type: unreadable } };
    return [{ peer, start, deps: start > 0 ? [{ peer, counter: start - 1 }] : [], ops: [op] }];
  }
}

/** In: `counter@peer`. */
export function parseId(id: string): OpId {
  const [counter = "", peer = ""] = id.split("@");
  return { peer: peer as PeerID, counter: Number(counter) };
}

/** How many numbers an operation takes up. */
export function lengthOf({ type, key, text, value, len }: LoroOperation["content"]): number {
  if (type === "delete" && len !== undefined) return Math.abs(len);
  if (type !== "insert") return 1;
  if (text !== undefined) return countCharacters(text);
  return key === undefined && Array.isArray(value) ? value.length : 1;
}

function countCharacters(text: string): number {
  let count = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    // The second half of a character beyond U+FFFF does not count.
    if (unit < 0xdc00 || unit > 0xdfff) count++;
  }
  return count;
}
