import type { Queryable } from "../../database/types.js";
import { type BrokenTail, holding, isBroken, setTailAside } from "./broken-tail.js";
import type { CatchUp } from "./catch-up.js";
import { remembered } from "./notification-tracker.js";
import { readDocument, type VersionedDocument } from "./queries.js";
import type { DocumentState } from "./state.js";
import type { Tail } from "./types.js";

export interface Loader {
  /** Bytes of the last known projection and snapshot, and what is behind that. */
  readonly sizes: { projection: number; snapshot: number; tail: Tail };
  /**
   * Reads what is committed, and gives readers what they lack; nothing else may be under way. Where that does not lead on from what they
   * have, they get nothing of it: the document ends for them, and they have to join again.
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
  /** The next load begins a new incarnation. */
  forgetIncarnation(): void;
}

export interface LoaderParts {
  readonly db: Queryable;
  readonly catchUp: CatchUp;
  /** The document's tail did not hold together, and was mended. */
  broken(tail: BrokenTail): void;
}

/** Others may write to the document, and break it, while it is mended. */
const maxMendings = 3;

export function createLoader(state: DocumentState, { db, catchUp, broken }: LoaderParts): Loader {
  const { key, replica, subscribers, notifications } = state;
  const sizes = { projection: 0, snapshot: 0, tail: { updates: 0, bytes: 0 } };
  /** Whether the readers were given anything of this incarnation. */
  let begun = false;
  let kept: VersionedDocument | undefined;

  async function read(): Promise<VersionedDocument> {
    const heard = notifications.begin();
    try {
      return await readOn(heard);
    } catch (error) {
      notifications.failed(heard);
      throw error;
    }
  }

  async function readOn(heard: readonly number[]): Promise<VersionedDocument> {
    kept = undefined;
    const stored = await readDocument(db, key);
    // Where the document has moved, readers are given what they lack, if it still leads on from what they have.
    const lacking = begun && !isAtHead(stored) ? await readDocument(db, key, state.at) : undefined;
    if (lacking && !lacking.leadsOn) state.endIncarnation(lacking.incarnationSeq > state.at.seq ? "deleted" : "moved");
    // Whatever copy there is lacks what readers are about to be given.
    replica.unload();
    sizes.projection = stored.projectionBytes;
    sizes.snapshot = stored.snapshot?.byteLength ?? 0;
    sizes.tail = tailOf(stored);
    const before = state.at.seq;
    if (begun && lacking) deliver(lacking, stored.headSeq);
    begun = true;
    state.at = { seq: stored.headSeq, revision: stored.headRevision };
    kept = stored;
    state.behind = false;
    for (const { seq } of stored.updates.slice(-remembered)) notifications.saw(seq);
    notifications.end(heard, state.at.seq);
    for (const asked of catchUp.takeAsking()) asked();
    if (state.at.seq > before && subscribers.size > 0) state.moved(false);
    return stored;
  }

  function unused(): VersionedDocument | undefined {
    if (kept && !isAtHead(kept)) kept = undefined;
    return state.behind ? undefined : kept;
  }

  /** A tail that does not hold together is mended first: by this process or, where it comes too late for that, by another. */
  async function load(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const stored = unused() ?? (await read());
      kept = undefined;
      try {
        return await replica.load(stored);
      } catch (error) {
        if (!isBroken(error) || attempt === maxMendings) throw error;
        await mend(stored, error);
      }
    }
  }

  async function mend(stored: VersionedDocument, error: unknown): Promise<void> {
    const holds = await holding(stored, replica.load);
    replica.unload();
    const first = stored.updates[holds.updates.length];
    const updates = first ? await setTailAside(db, key, holds.headSeq, first) : 0;
    if (updates > 0) broken({ after: holds.headSeq, updates, error });
  }

  const isAtHead = (stored: VersionedDocument) =>
    stored.headSeq === state.at.seq && stored.headRevision === state.at.revision;

  /** Readers lack what was committed while the copy was away; what came since the document was read comes later. */
  function deliver({ snapshot, updates }: VersionedDocument, headSeq: number): void {
    const lacking = updates.filter(({ seq }) => seq <= headSeq).map(({ payload }) => payload);
    if (snapshot) lacking.unshift(snapshot);
    subscribers.deliver({ updates: lacking, seq: headSeq, origin: undefined });
  }

  async function stale(): Promise<boolean> {
    try {
      const stored = await readDocument(db, key, state.at);
      return !isAtHead(stored) || replica.differs(stored.schema.fields);
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
    forgetIncarnation() {
      begun = false;
      kept = undefined;
    },
  };
}

function tailOf({ updates }: VersionedDocument): Tail {
  return { updates: updates.length, bytes: updates.reduce((sum, { payload }) => sum + payload.byteLength, 0) };
}
