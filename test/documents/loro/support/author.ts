import type { LoroDoc } from "loro-crdt";
import { isNotLoaded } from "../../../../src/documents/loro/api.js";
import type { DocumentEngine } from "../../../../src/documents/loro/engine.js";
import { EngineLost } from "../../../../src/engine/engine.js";
import { notes } from "./client.js";
import { newClient, type Random, randomCommit } from "./edits.js";

/** One document as its server keeps it: what was accepted is stored, and the engine's copy is built again from that when it is lost. */
export interface ServedDocument {
  id: string;
  stored: Uint8Array[];
  /** Imports and stores. Errors: as the engine's import, but for lost copies. */
  accept(update: Uint8Array): Promise<void>;
  /** Makes a call that needs the copy. */
  use<T>(call: () => Promise<T>): Promise<T>;
}

export function serve(engine: DocumentEngine, id: string): ServedDocument {
  const stored: Uint8Array[] = [];
  async function use<T>(call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (!(error instanceof EngineLost) && !isNotLoaded(error)) throw error;
        await engine.call(id, "load", [id, notes, null, stored]).catch((loss: unknown) => {
          if (!(loss instanceof EngineLost)) throw loss;
        });
      }
    }
  }
  return {
    id,
    stored,
    use,
    async accept(update) {
      const { changed, updates } = await use(() => engine.call(id, "import", [id, [update]]));
      if (changed) stored.push(...(updates ?? [update]));
    },
  };
}

/** Somebody who edits honestly, and whose every acknowledged edit must be there in the end. */
export function author(document: ServedDocument, random: Random) {
  const doc: LoroDoc = newClient();
  let sent = doc.oplogVersion();
  return {
    doc,
    async edit() {
      randomCommit(doc, random);
      const update = doc.export({ mode: "update", from: sent });
      sent = doc.oplogVersion();
      await document.accept(update);
    },
  };
}
