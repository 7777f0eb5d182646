import type { Queryable } from "../../database/types.js";
import type { DocumentNews } from "./news.js";
import { remembered } from "./rings.js";
import type { DocumentState } from "./state.js";
import { readDocument, type VersionedDocument } from "./stored.js";
import type { Tail } from "./types.js";

export interface Loader {
  /** Bytes of the last known projection and snapshot, and what is behind that. */
  readonly sizes: { projection: number; snapshot: number; tail: Tail };
  /**
   * Reads what is committed, and gives readers what they lack; nothing else may be under way. A document that was deleted meanwhile
   * begins a new life, of which the readers of the old one get nothing.
   */
  read(): Promise<VersionedDocument>;
  /** What was read, as long as it is all there is up to the document's position and no copy was made of it. */
  unused(): VersionedDocument | undefined;
  /** The size of that. */
  readonly unusedBytes: number;
  /** Lets go of it: it is read again when it is needed. */
  spare(): void;
  /** Builds the copy from what is committed, which is read unless it is there unused; nothing else may be under way. */
  load(): Promise<void>;
  /** Whether the copy is older than the database: others appended since, or the table was declared anew. */
  stale(): Promise<boolean>;
  /** The next load begins a new life. */
  forgetLife(): void;
}

export function createLoader(state: DocumentState, { db, news }: { db: Queryable; news: DocumentNews }): Loader {
  const { key, content, subscribers, rings } = state;
  const sizes = { projection: 0, snapshot: 0, tail: { updates: 0, bytes: 0 } };
  let lifeSeq: number | undefined;
  let kept: VersionedDocument | undefined;

  async function read(): Promise<VersionedDocument> {
    kept = undefined;
    const stored = await readDocument(db, key);
    if (lifeSeq !== undefined && (stored.lifeSeq !== lifeSeq || stored.headSeq < state.position)) state.endLife();
    // Whatever copy there is lacks what readers are about to be given.
    content.unload();
    sizes.projection = stored.projectionBytes;
    sizes.snapshot = stored.snapshot?.byteLength ?? 0;
    sizes.tail = tailOf(stored);
    const before = state.position;
    if (lifeSeq === undefined) {
      lifeSeq = stored.lifeSeq;
      state.position = stored.headSeq;
    } else await deliverSince(stored);
    kept = stored;
    state.behind = false;
    for (const { seq } of stored.updates.slice(-remembered)) rings.saw(seq);
    rings.end(rings.begin(), state.position);
    for (const asked of news.takeAsking()) asked();
    if (state.position > before && subscribers.size > 0) state.moved(false);
    return stored;
  }

  function unused(): VersionedDocument | undefined {
    if (kept?.headSeq !== state.position) kept = undefined;
    return state.behind ? undefined : kept;
  }

  async function load(): Promise<void> {
    const stored = unused() ?? (await read());
    // If this fails, the bytes may be what is wrong.
    await content.load(stored).finally(() => {
      kept = undefined;
    });
  }

  /** Readers lack what was committed while the copy was away. */
  async function deliverSince(stored: VersionedDocument): Promise<void> {
    if (stored.headSeq === state.position) return;
    if (subscribers.size > 0) {
      // The snapshot hides which updates are in it: what readers lack may still be in the tail behind it.
      const covered = stored.snapshot === null || stored.snapshotSeq <= state.position;
      const lacking = covered ? stored : await readDocument(db, key, state.position);
      const updates = lacking.updates
        .filter(({ seq }) => seq > state.position && seq <= stored.headSeq)
        .map(({ payload }) => payload);
      if (!covered && lacking.snapshot) updates.unshift(lacking.snapshot);
      subscribers.deliver({ updates, seq: stored.headSeq, origin: undefined });
    }
    state.position = stored.headSeq;
  }

  async function stale(): Promise<boolean> {
    try {
      const { schema, headSeq } = await readDocument(db, key, state.position);
      return headSeq !== state.position || content.differs(schema.fields);
    } catch {
      // Whoever asks was going to refuse something, and does.
      return false;
    }
  }

  return {
    sizes,
    read,
    unused,
    get unusedBytes() {
      return kept ? (kept.snapshot?.byteLength ?? 0) + tailOf(kept).bytes : 0;
    },
    spare() {
      kept = undefined;
    },
    load,
    stale,
    forgetLife() {
      lifeSeq = undefined;
      kept = undefined;
    },
  };
}

function tailOf({ updates }: VersionedDocument): Tail {
  return { updates: updates.length, bytes: updates.reduce((sum, { payload }) => sum + payload.byteLength, 0) };
}
