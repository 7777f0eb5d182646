import type { LoroDoc } from "loro-crdt";
import { readOperations, unreadable } from "./checks/oplog.js";
import type { FieldKinds } from "./fields.js";
import { blobSpans } from "./format/spans.js";
import { parseRootId, scalarRootId } from "./layout.js";
import { parseMergeable } from "./mergeable.js";

/**
 * The fields that updates can have changed, which the document has taken in: by their operations alone, so it costs what these do, whatever the
 * size of the document. Undefined where that cannot be told.
 */
export function touchedFields(
  doc: LoroDoc,
  fields: FieldKinds,
  updates: readonly Uint8Array[],
): FieldKinds | undefined {
  const names = new Set<string>();
  for (const update of updates) {
    for (const [peer, { start, end }] of blobSpans(update)) {
      for (const { container, content } of readOperations(doc, peer, start, end).flatMap(({ ops }) => ops)) {
        if (content.type === unreadable) return undefined;
        // A scalar, or what an empty container means (see patch.ts).
        const head = parseRootId(parseMergeable(container)?.head ?? container)?.name;
        const name = container === scalarRootId ? content.key : (head ?? doc.getPathToContainer(container)?.[0]);
        // What it lay in was deleted meanwhile.
        if (name === undefined) return undefined;
        names.add(String(name));
      }
    }
  }
  return Object.fromEntries(Object.entries(fields).filter(([name]) => names.has(name)));
}
