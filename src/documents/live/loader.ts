import type { Queryable } from "../../database/types.js";
import { type BrokenTail, holding, isBroken, setTailAside } from "./broken-tail.js";
import type { CatchUp } from "./catch-up.js";
import { remembered } from "./notification-tracker.js";
import type { OpenDocument } from "./open-document.js";
import { readDocument, type VersionedDocument } from "./queries.js";
import type { Look, Tail } from "./types.js";

export interface Loader {
  /** Bytes of the last known projection and snapshot, and what is behind that. */
  readonly sizes: { projection: number; snapshot: number; tail: Tail };
  /**
   * Reads what is committed, and gives readers what they lack; nothing else may be under way. Where that does not lead on from what they
   * have, they get nothing of it: the document ends for them, and they have to join again.
   */
  read(): Promise<VersionedDocument>;
  /** What was read, as long as it is all there is up to the document's position and no replica was made of it. */
  unused(): VersionedDocument | undefined;
  /** The size of that. */
  readonly unusedBytes: number;
  /** Lets go of it: it is read again when it is needed. */
  spare(): void;
  /** Builds the replica from what is committed, which is read unless it is there unused; nothing else may be under way. */
  load(): Promise<void>;
  /** Whether the replica is older than the database: others appended since, or the table was declared anew. */
  stale(): Promise<boolean>;
}

export interface LoaderParts {
  readonly db: Queryable;
  readonly look: Look;
  readonly catchUp: CatchUp;
  /** The document's tail did not hold together, and was mended. */
  broken(tail: BrokenTail): void;
}

/** Others may write to the document, and break it, while it is mended. */
const maxMendings = 3;

export function createLoader(open: OpenDocument, { db, look, catchUp, broken }: LoaderParts): Loader {
  const { key, replica, subscribers, notifications } = open;
  const sizes = { projection: 0, snapshot: 0, tail: { updates: 0, bytes: 0 } };
  let kept: VersionedDocument | undefined;

  /*
   * Who is looked at, here and below, has all that was committed and told when the look began: so what was heard of before, what readers were given, and
   * what a client brings along that it was acknowledged. What is committed later is notified later, and asked of the primary.
   */
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
    const stored = await look((on) => readDocument(on, key));
    // Where the document has moved, readers are given what they lack, if it still leads on from what they have.
    const lacking = isBegun() && !isAtHead(stored) ? await look((on) => readDocument(on, key, open.at)) : undefined;
    if (lacking && !lacking.leadsOn) open.endIncarnation(lacking.incarnationSeq > open.at.seq ? "deleted" : "moved");
    // Whatever replica there is lacks what readers are about to be given.
    replica.unload();
    sizes.projection = stored.projectionBytes;
    sizes.snapshot = stored.snapshot?.byteLength ?? 0;
    sizes.tail = tailOf(stored);
    const before = open.at.seq;
    if (isBegun() && lacking) deliver(lacking, stored.headSeq);
    open.at = { seq: stored.headSeq, revision: stored.headRevision };
    kept = stored;
    open.tell({ is: "read" });
    for (const { seq } of stored.updates.slice(-remembered)) notifications.saw(seq);
    notifications.end(heard, open.at.seq);
    for (const asked of catchUp.takeAsking()) asked();
    if (open.at.seq > before && subscribers.size > 0) open.moved(false);
    return stored;
  }

  function unused(): VersionedDocument | undefined {
    if (kept && !isAtHead(kept)) kept = undefined;
    return open.state.readers === "behind" ? undefined : kept;
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

  /** Whether the readers were given anything of this incarnation. */
  const isBegun = () => open.state.readers !== "unread";

  const isAtHead = (stored: VersionedDocument) =>
    stored.headSeq === open.at.seq && stored.headRevision === open.at.revision;

  /** Readers lack what was committed while the replica was away; what came since the document was read comes later. */
  function deliver({ snapshot, updates }: VersionedDocument, headSeq: number): void {
    const lacking = updates.filter(({ seq }) => seq <= headSeq).map(({ payload }) => payload);
    if (snapshot) lacking.unshift(snapshot);
    subscribers.deliver({ updates: lacking, seq: headSeq, origin: undefined });
  }

  async function stale(): Promise<boolean> {
    try {
      const stored = await readDocument(db, key, open.at);
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
  };
}

function tailOf({ updates }: VersionedDocument): Tail {
  return { updates: updates.length, bytes: updates.reduce((sum, { payload }) => sum + payload.byteLength, 0) };
}
