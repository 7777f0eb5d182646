import { type ContainerID, Cursor, type LoroDoc, type LoroList, type LoroText, type OpId } from "loro-crdt";
import { readByte, readerOf, readUint64, varint } from "../../../lib/binary.js";
import { withHandle } from "../handles.js";

/** What a text or list shows in the state a document is in. Positions count characters (code points) or items. */
export interface Places {
  length: number;
  /** The operation that made the character or item at `index`, which must be below the length. */
  idAt(index: number): OpId | undefined;
  /** Whether what an operation made is shown. Only in a document that is up to date: in an older state Loro traps. */
  shows(id: OpId): boolean;
}

/** Out: undefined when the container is neither text nor list, or is not part of this state. */
export function placesOf(doc: LoroDoc, container: ContainerID): Places | undefined {
  if (!/:(Text|List)$/.test(container)) return undefined;
  const sequence = doc.getContainerById(container) as LoroText | LoroList | undefined;
  if (!sequence) return undefined;
  const convert = (index: number, from: "utf16" | "unicode", to: "utf16" | "unicode") =>
    sequence.kind() === "Text" ? Number((sequence as LoroText).convertPos(index, from, to) ?? index) : index;
  let template: Uint8Array | undefined;
  return {
    length: convert(sequence.length, "utf16", "unicode"),
    idAt(index) {
      const cursor = sequence.getCursor(convert(index, "unicode", "utf16"));
      return cursor && withHandle(cursor, (handle) => handle.pos());
    },
    shows(id) {
      const cursor = template ? undefined : sequence.getCursor(0);
      if (cursor) template = withHandle(cursor, (handle) => handle.encode());
      if (!template) return false;
      return withHandle(Cursor.decode(cursorAt(template, id)), (handle) => {
        const found = doc.getCursorPos(handle);
        found?.update?.free();
        // With an update: it was deleted, and this is only where it would be.
        return found !== undefined && found.update === undefined;
      });
    },
  };
}

/** A cursor like the given one, at another item: the bytes begin with whether there is one, then its peer and counter. */
function cursorAt(template: Uint8Array, { peer, counter }: OpId): Uint8Array {
  const reader = readerOf(template);
  if (readByte(reader) === 1) for (let numbers = 0; numbers < 2; numbers++) readUint64(reader);
  return Uint8Array.from([1, ...varint(BigInt(peer)), ...varint(counter * 2), ...template.subarray(reader.offset)]);
}
