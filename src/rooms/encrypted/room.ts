import type { Database } from "../../database/types.js";
import type { DocumentKey } from "../../documents/key.js";
import { newRevision } from "../../documents/live/queries.js";
import type { Identity } from "../../identity/identity.js";
import { updateFrames } from "../../protocol/encode.js";
import { type AckStatus, ackStatus } from "../../protocol/protocol.js";
import type { RoomReader } from "../channel.js";
import {
  type AppendResult,
  appendEncrypted,
  type EncryptedPosition,
  type EncryptedState,
  readEncrypted,
  readMissedRecords,
  type StoredRecord,
} from "./queries.js";
import { containersOf, type EncryptedRecord, type Version } from "./records.js";

/*
 * One encrypted document held open. Nothing is decoded, so nothing is loaded either: all there is, is the position up to which
 * readers were given what came. Everything that moves it runs one after the other (`work`): an append, or a reading of what came
 * behind the position. Positions are given out under a lock that is held until commit, so what is read behind a position is
 * complete, and the database says whether it goes on from that position: it does not where it went back to an earlier state; then
 * everybody joins again, and sends what was lost. A reader is there from before its backfill is read; what comes meanwhile is kept for it, and of that it is given what
 * the backfill did not have.
 */

export interface EncryptedRoom {
  readonly key: DocumentKey;
  /** Adds a reader. Out: what it lacks. Errors: as `readEncrypted`; then the reader is not there. */
  join(reader: RoomReader, version: Version): Promise<EncryptedJoin>;
  /** A notification, or a poll, says how far the document is. */
  notified(seq: number): void;
  /** A poll says where the document is. */
  seen(position: EncryptedPosition): void;
}

export interface EncryptedJoin {
  readonly state: EncryptedState;
  submit(records: readonly EncryptedRecord[], author: Identity): Promise<AckStatus>;
  /** Delivers nothing more. */
  mute(): void;
  leave(): void;
}

export interface RoomEvents {
  /** An append or a reading failed for a reason that is not the client's. */
  fault(error: unknown): void;
  /** An append was refused although the room was joined for writing. */
  forbidden(): void;
  /** So many records were committed, so long after the first of them was submitted. */
  committed(records: number, ms: number): void;
  /** Nobody is in it any more, or its document was deleted: another room takes its place. */
  over(): void;
}

interface Slot {
  readonly reader: RoomReader;
  muted: boolean;
  /** What came while its backfill was being read; undefined once it has been. */
  held: Delivered[] | undefined;
}

interface Delivered extends StoredRecord {
  readonly origin: Slot | undefined;
}

interface Submission {
  readonly records: readonly EncryptedRecord[];
  readonly author: Identity;
  readonly origin: Slot;
  readonly at: number;
  resolve(status: AckStatus): void;
}

/** Of one transaction: each record may cost a look at as many others. */
const maxRecords = 256;
const maxBytes = 2 ** 20;
const retryMs = 1_000;
const beginning: EncryptedPosition = { seq: 0, revision: 0 };

const refusals: Record<string, AckStatus> = {
  PE403: ackStatus.permissionDenied,
  PE413: ackStatus.payloadTooLarge,
};

export function createEncryptedRoom(db: Database, key: DocumentKey, on: RoomEvents): EncryptedRoom {
  const places = new Set<Slot>();
  let position: EncryptedPosition | undefined;
  let incarnation = 0;
  /** How far the document is known to be. */
  let ahead = 0;
  let submissions: Submission[] = [];
  let working = false;
  let over = false;
  let retry: NodeJS.Timeout | undefined;

  function deliver(records: readonly Delivered[]): void {
    const frames = new Map<string, Buffer[]>();
    for (const place of places) {
      if (place.held !== undefined) {
        place.held.push(...records);
        continue;
      }
      if (place.muted) continue;
      const { head, roomKey } = place.reader;
      const theirs = records.filter(({ origin }) => origin !== place);
      if (theirs.length === 0) continue;
      const whole = theirs.length === records.length;
      let made = whole ? frames.get(roomKey) : undefined;
      made ??= [...updateFrames(head, containersOf(theirs.map(({ payload }) => payload)))];
      if (whole) frames.set(roomKey, made);
      place.reader.deliver(made);
    }
  }

  function end(): void {
    if (over) return;
    over = true;
    clearTimeout(retry);
    on.over();
  }

  /** Gives readers what came behind the position; `origins` says whose some of it is. */
  async function refresh(origins: ReadonlyMap<number, Slot>): Promise<void> {
    const news = await readMissedRecords(db, key, position ?? beginning);
    if (news.incarnation !== incarnation || news.leadsOn !== true) {
      end();
      for (const { reader } of [...places]) {
        if (news.incarnation > incarnation) reader.evict("the document was deleted");
        // Or so much was replaced since that nobody can tell. Whoever joins is given what they lack, and sends what is lacking here.
        else reader.rejoin("the database went back to an earlier state of the document: join again");
      }
      return;
    }
    deliver(news.records.map((record) => ({ ...record, origin: origins.get(record.seq) })));
    position = news.position;
    ahead = Math.max(ahead, position.seq);
  }

  function takeBatch(): Submission[] {
    const batch: Submission[] = [];
    let records = 0;
    let bytes = 0;
    for (const submission of submissions) {
      if (batch.length > 0 && (records >= maxRecords || bytes >= maxBytes)) break;
      batch.push(submission);
      records += submission.records.length;
      for (const { payload } of submission.records) bytes += payload.length;
    }
    submissions = submissions.slice(batch.length);
    return batch;
  }

  async function append(batch: readonly Submission[]): Promise<void> {
    const all = batch.flatMap(({ records, author, origin }) => records.map((record) => ({ record, author, origin })));
    const results: AppendResult[] = [];
    const before = position ?? beginning;
    let after = before;
    // One submission may be more than a transaction; what of it is committed stays.
    for (let at = 0; at < all.length; at += maxRecords) {
      const revision = newRevision();
      const some = await appendEncrypted(db, key, { incarnation, after, revision }, all.slice(at, at + maxRecords));
      const last = some.reduce((seq, result) => ("seq" in result ? (result.seq ?? seq) : seq), after.seq);
      if (last > after.seq) after = { seq: last, revision };
      results.push(...some);
    }
    const stored: Delivered[] = [];
    let ended = false;
    for (const [n, { record, origin }] of all.entries()) {
      const result = results[n];
      if (result && "seq" in result && result.seq !== undefined) {
        stored.push({ seq: result.seq, payload: record.payload, origin });
      }
      if (result && "refused" in result && result.refused === "PE410") ended = true;
    }
    if (stored.length > 0) on.committed(stored.length, performance.now() - (batch[0]?.at ?? 0));
    if (stored.length > 0 && !ended && after.seq === before.seq + stored.length) {
      deliver(stored);
      position = after;
    } else if (stored.length > 0 || ended) {
      // Others' came in between, or the document was deleted. What is stored is stored, whether it can be read now or not.
      await refresh(new Map(stored.map(({ seq, origin }) => [seq, origin] as [number, Slot]))).catch(lookAgain);
    }
    let at = 0;
    for (const { records, resolve } of batch) {
      const own = results.slice(at, at + records.length);
      at += records.length;
      const refusal = own.flatMap((result) => ("refused" in result ? [result.refused] : []))[0];
      if (refusal === "PE403") on.forbidden();
      resolve(refusal === undefined ? ackStatus.ok : (refusals[refusal] ?? ackStatus.invalidUpdate));
    }
  }

  function lookAgain(error: unknown): void {
    on.fault(error);
    ahead = Math.max(ahead, (position ?? beginning).seq + 1);
    retry ??= setTimeout(() => {
      retry = undefined;
      work();
    }, retryMs);
  }

  function work(): void {
    if (working || over) return;
    if (submissions.length > 0) {
      const batch = takeBatch();
      working = true;
      append(batch)
        .catch((error: unknown) => {
          on.fault(error);
          for (const { resolve } of batch) resolve(ackStatus.unknown);
          // It may have been committed all the same.
          ahead = Math.max(ahead, (position ?? beginning).seq + 1);
        })
        .finally(goOn);
    } else if (position !== undefined && ahead > position.seq && retry === undefined && places.size > 0) {
      const before = ahead;
      working = true;
      refresh(new Map())
        .then(() => {
          // A failed append had not been committed.
          if (ahead === before) ahead = (position ?? beginning).seq;
        }, lookAgain)
        .finally(goOn);
    }
  }

  function goOn(): void {
    working = false;
    if (over) for (const { resolve } of submissions.splice(0)) resolve(ackStatus.invalidUpdate);
    work();
    endWhenIdle();
  }

  function endWhenIdle(): void {
    if (places.size === 0 && !working && submissions.length === 0) end();
  }

  function leave(place: Slot): void {
    places.delete(place);
    endWhenIdle();
  }

  function notified(seq: number): void {
    if (seq <= ahead) return;
    ahead = seq;
    work();
  }

  /** Behind, or ahead of a database that went back to an earlier state: both are found out by reading. */
  function seen(now: EncryptedPosition): void {
    if (position === undefined || (now.seq === position.seq && now.revision === position.revision)) return;
    notified(Math.max(now.seq, position.seq + 1));
  }

  return {
    key,
    notified,
    seen,
    async join(reader, version) {
      const place: Slot = { reader, muted: false, held: [] };
      places.add(place);
      let state: EncryptedState;
      try {
        state = await readEncrypted(db, key, version);
        if (over) throw new Error("the document was deleted while it was joined");
        if (position !== undefined && state.incarnation !== incarnation) {
          // A deletion that this room has not heard of.
          ahead = Math.max(ahead, state.position.seq);
          work();
          throw new Error("the document was deleted while it was joined");
        }
      } catch (error) {
        leave(place);
        throw error;
      }
      incarnation = state.incarnation;
      position ??= state.position;
      const missed = (place.held ?? []).filter(({ seq }) => seq > state.position.seq);
      place.held = undefined;
      if (missed.length > 0) reader.deliver([...updateFrames(reader.head, containersOf(missed.map((m) => m.payload)))]);
      seen(state.position);
      work();
      return {
        state,
        submit(records, author) {
          if (over) return Promise.resolve(ackStatus.invalidUpdate);
          if (records.length === 0) return Promise.resolve(ackStatus.ok);
          return new Promise((resolve) => {
            submissions.push({ records, author, origin: place, at: performance.now(), resolve });
            work();
          });
        },
        mute() {
          place.muted = true;
        },
        leave: () => leave(place),
      };
    },
  };
}
