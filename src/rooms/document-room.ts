import { documentId } from "../documents/key.js";
import type { CommittedUpdates, Ending, Joined, LiveDocument, LiveDocuments } from "../documents/live.js";
import { PerchError } from "../errors.js";
import type { NotificationHub } from "../notifications/hub.js";
import { type AckStatus, ackStatus, joinErrorCode } from "../protocol/protocol.js";
import { createReorderBuffer } from "./reorder-buffer.js";
import { type Channel, type Entry, framesOf, JoinRefused, type OpenRoom } from "./room.js";

export interface DocumentRoomServices {
  readonly live: LiveDocuments;
  readonly notifications: Pick<NotificationHub, "add">;
  /** An append failed for a reason that is not the client's. */
  onFault(error: unknown): void;
  /** An append was refused although the room was joined for writing: access has changed. */
  onForbidden(): void;
  /** A batch of so many updates was committed, so long after it was handed over. */
  onCommitted(updates: number, ms: number): void;
  /** A committed batch was handed to a reader of this node, so long after its writer handed it over. */
  onDelivered(ms: number): void;
}

/** What an append is known by to the readers of this node. */
interface Origin {
  readonly writer: Entry["reader"];
  readonly at: number;
}

/** Somebody who has written to a document here: where, last. */
interface Writer {
  readonly reader: Entry["reader"];
  seq: number;
}

/** How long a writer whose copy is of no use goes on being heard. */
const forkedMs = 500;

const emptyVersion = new Uint8Array(1);

/** Document rooms: what a client sends is appended, what is committed is sent to every reader. */
export function documentRooms(services: DocumentRoomServices): OpenRoom {
  const { live, onFault, onForbidden, onCommitted, onDelivered } = services;
  const framesFor = createFrameCache();
  /** By document. What the table refuses of a column is known only when it is projected, by whichever process; they are told then. */
  const writers = new Map<string, Set<Writer>>();
  services.notifications.add({
    notified(notification) {
      if (notification.channel !== "perch_documents" || notification.refusedAfter === undefined) return;
      for (const writer of writers.get(documentId(notification.key)) ?? []) {
        if (writer.seq > notification.refusedAfter && writer.seq <= notification.seq) writer.reader.refused();
      }
    },
  });

  return async ({ key, identity, access, version, reader }: Entry): Promise<Channel> => {
    await live.adopt(key);
    const document = await live.open(key);
    let joined: Joined;
    try {
      joined = await joinAt(document, version, {
        // The writer has what it wrote; the acknowledgement tells it the rest.
        committed: (committed) => {
          const origin = committed.origin as Origin | undefined;
          if (origin?.writer === reader) return;
          reader.deliver(framesFor(committed, reader), committed.seq);
          if (origin !== undefined) onDelivered(performance.now() - origin.at);
        },
        ended: (why) => {
          if (why === "deleted") reader.end("the document was deleted");
          else reader.rejoin("the database went back to an earlier state of the document: join again");
        },
      });
    } catch (error) {
      document.release();
      throw error;
    }

    const writer: Writer = { reader, seq: 0 };
    let closed = false;
    const append = async (updates: readonly Uint8Array<ArrayBuffer>[]): Promise<AckStatus> => {
      const origin: Origin = { writer: reader, at: performance.now() };
      const { seq, forked } = await document.append(updates, identity, origin);
      writer.seq = seq;
      if (!closed) writers.set(document.id, (writers.get(document.id) ?? new Set<Writer>()).add(writer));
      if (forked) {
        // What it sent meanwhile is still taken; its copy can never be what everybody else has.
        setTimeout(
          () => reader.end("another writer used your peer id: your edits are kept; load the document anew"),
          forkedMs,
        );
      }
      onCommitted(updates.length, performance.now() - origin.at);
      return ackStatus.ok;
    };
    const statusOf = (error: unknown): AckStatus => {
      const status = refusalStatus(error);
      if (status === undefined) onFault(error);
      if (status === ackStatus.permissionDenied) onForbidden();
      return status ?? ackStatus.unknown;
    };
    const reorderBuffer = createReorderBuffer({ append, statusOf });

    return {
      permission: access,
      version: joined.version.length > 0 ? joined.version : emptyVersion,
      backfill: joined.updates,
      position: joined.seq,
      submit: reorderBuffer.submit,
      progress: reorderBuffer.progress,
      mute: joined.leave,
      close() {
        closed = true;
        joined.leave();
        reorderBuffer.close();
        const beside = writers.get(document.id);
        beside?.delete(writer);
        if (beside?.size === 0) writers.delete(document.id);
        document.release();
      },
    };
  };
}

interface DocumentListener {
  committed(committed: CommittedUpdates): void;
  ended(why: Ending): void;
}

/** Joins at the version the client named; a version that does not decode is answered with the document's own. */
async function joinAt(document: LiveDocument, version: Uint8Array, on: DocumentListener): Promise<Joined> {
  try {
    return await document.join(version, on.committed, on.ended);
  } catch (error) {
    if (!(error instanceof PerchError) || error.code !== "PE422" || version.length === 0) throw error;
    const everything = await document.join(new Uint8Array(), () => undefined);
    everything.leave();
    throw new JoinRefused(joinErrorCode.versionUnknown, "the version does not decode", {
      receiverVersion: everything.version,
    });
  }
}

/** What a refused append is acknowledged with; undefined when the fault is not the client's. */
function refusalStatus(error: unknown): AckStatus | undefined {
  if (!(error instanceof PerchError)) return undefined;
  if (error.code === "PE401" || error.code === "PE403") return ackStatus.permissionDenied;
  return error.code === "PE413" ? ackStatus.payloadTooLarge : ackStatus.invalidUpdate;
}

/** Frames of a commit. Its readers are called one after the other, so remembering the last one is enough. */
function createFrameCache(): (committed: CommittedUpdates, reader: Entry["reader"]) => readonly Buffer[] {
  let of: CommittedUpdates | undefined;
  let framesFor: ReturnType<typeof framesOf> | undefined;
  return (committed, reader) => {
    if (of !== committed || framesFor === undefined) {
      of = committed;
      framesFor = framesOf(() => committed.updates);
    }
    return framesFor(reader);
  };
}
