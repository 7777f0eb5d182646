import type { DocumentKey } from "../documents/key.js";
import { newRevision } from "../documents/live/queries.js";
import type { Identity } from "../identity/identity.js";
import { takeBatch } from "../lib/batches.js";
import { createMutex } from "../lib/keyed-mutex.js";
import { createMachine } from "../lib/state-machine.js";
import { type AckStatus, ackStatus } from "../protocol/protocol.js";
import type { EntryAppended, LoggedEntry, LogKind, LogPosition, LogState } from "./log-kind.js";
import { type Action, type Event, firstState, type State, step } from "./log-room-states.js";
import { framesOf, type RoomReader } from "./room.js";

export interface LogRoomEvents {
  /** An append or a read failed for a reason that is not the client's. */
  onFault(error: unknown): void;
  /** So many entries were committed, so long after they were handed over. */
  onCommitted(entries: number, ms: number): void;
  /** An append was refused although the room was joined for writing: access has changed. */
  onForbidden(): void;
}

const restMs = 1_000;
const beginning: LogPosition = { seq: 0, revision: 0 };
/** Of one transaction: each entry may cost a look at as many others. */
const bounds = { items: 256, bytes: 2 ** 20 };

const refusals: Record<string, AckStatus> = { PE403: ackStatus.permissionDenied, PE413: ackStatus.payloadTooLarge };

export interface LogRoom<Entry, Version> {
  readonly key: DocumentKey;
  /** Adds a reader. Out: what it lacks. Errors: as `read`; then the reader is not there. */
  join(reader: RoomReader, version: Version): Promise<LogState<Version>>;
  submit(entries: readonly Entry[], author: Identity, reader: RoomReader): AckStatus | Promise<AckStatus>;
  leave(reader: RoomReader): void;
  heard(seq: number): void;
  /** A poll of the database says where the log is. */
  polled(position: LogPosition): void;
}

interface Submission<Entry> {
  readonly entries: readonly Entry[];
  readonly author: Identity;
  readonly origin: RoomReader;
  readonly at: number;
  resolve(status: AckStatus): void;
}

interface Delivered extends LoggedEntry {
  readonly origin: RoomReader | undefined;
}

/** One room; its states are in log-room-states.ts. In: `over`: another takes its place. */
export function createLogRoom<Entry, Version>(
  kind: LogKind<Entry, Version>,
  key: DocumentKey,
  on: LogRoomEvents & { over(): void },
): LogRoom<Entry, Version> {
  const readers = new Set<RoomReader>();
  let submissions: Submission<Entry>[] = [];
  let resting: NodeJS.Timeout | undefined;
  const inTurn = createMutex();
  const waits = () => ({ submitted: submissions.length > 0, readers: readers.size });
  const room = createMachine(firstState, (state: State, event: Event) => step(state, event, waits()), perform);
  const positionOf = (state: State) => (state.is === "open" ? state.position : beginning);
  const incarnationOf = (state: State) => (state.is === "open" ? state.incarnation : 0);

  function perform(action: Action): undefined {
    switch (action) {
      case "append":
        void append().then(() => room.tell({ is: "done", well: true }));
        break;
      case "catch up":
        void catchUp(new Map()).then((well) => room.tell({ is: "done", well }));
        break;
      case "rest":
        clearTimeout(resting);
        resting = setTimeout(() => room.tell({ is: "rested" }), restMs);
        break;
      case "end":
        clearTimeout(resting);
        for (const { resolve } of submissions.splice(0)) resolve(ackStatus.invalidUpdate);
        on.over();
    }
  }

  function deliver(entries: readonly Delivered[], position: LogPosition): void {
    const updatesOf = (some: readonly Delivered[]) => () => kind.updatesOf(some.map(({ payload }) => payload));
    const all = framesOf(updatesOf(entries));
    for (const reader of entries.length > 0 ? readers : []) {
      const theirs = entries.filter(({ origin }) => origin !== reader);
      if (theirs.length === entries.length) reader.deliver(all(reader), position.seq);
      else if (theirs.length > 0) reader.deliver(framesOf(updatesOf(theirs))(reader), position.seq);
    }
    room.tell({ is: "delivered", position });
  }

  /** Gives readers what came behind the position; `origins` says whose some of it is. Out: whether it could be read. */
  async function catchUp(origins: ReadonlyMap<number, RoomReader>): Promise<boolean> {
    const { state } = room;
    try {
      const missed = await kind.readMissed(key, positionOf(state));
      const isLater = missed.incarnation > incarnationOf(state);
      if (missed.incarnation === incarnationOf(state) && missed.leadsOn === true) {
        const entries = missed.entries.map((entry) => ({ ...entry, origin: origins.get(entry.seq) }));
        deliver(entries, missed.position);
        return true;
      }
      room.tell({ is: "ended" });
      for (const reader of [...readers]) {
        if (isLater) reader.end("the document was deleted");
        // Or so much was replaced since that nobody can tell. Whoever joins is given what they lack, and sends what is lacking here.
        else reader.rejoin("the database went back to an earlier state of the document: join again");
      }
      return true;
    } catch (error) {
      on.onFault(error);
      room.tell({ is: "read failed" });
      return false;
    }
  }

  async function append(): Promise<void> {
    const sizeOf = ({ entries }: Submission<Entry>) => ({
      items: entries.length,
      bytes: entries.reduce((sum, entry) => sum + kind.payloadOf(entry).length, 0),
    });
    const batch = takeBatch(submissions, bounds, sizeOf);
    submissions = submissions.slice(batch.length);
    const all = batch.flatMap(({ entries, author, origin }) => entries.map((entry) => ({ entry, author, origin })));
    const results: EntryAppended[] = [];
    const before = positionOf(room.state);
    let after = before;
    try {
      // One submission may be more than a transaction; what of it is committed stays.
      for (let at = 0; at < all.length; at += bounds.items) {
        const place = { incarnation: incarnationOf(room.state), after, revision: newRevision() };
        const some = await kind.append(key, place, all.slice(at, at + bounds.items));
        const last = some.reduce((seq, result) => seqOf(result) ?? seq, after.seq);
        if (last > after.seq) after = { seq: last, revision: place.revision };
        results.push(...some);
      }
    } catch (error) {
      on.onFault(error);
      for (const { resolve } of batch) resolve(ackStatus.unknown);
      // It may have been committed all the same.
      return room.tell({ is: "in doubt" });
    }
    const stored: Delivered[] = all.flatMap(({ entry, origin }, n) => {
      const seq = seqOf(results[n]);
      return seq === undefined ? [] : [{ seq, payload: kind.payloadOf(entry), origin }];
    });
    if (stored.length > 0) on.onCommitted(stored.length, performance.now() - (batch[0]?.at ?? 0));
    const isEnded = results.some((result) => refusalOf(result) === "PE410");
    if (stored.length > 0 && !isEnded && after.seq === before.seq + stored.length) deliver(stored, after);
    else if (stored.length > 0 || isEnded) {
      // Others' came in between, or the document was deleted. What is stored is stored, whether it can be read now or not.
      await catchUp(new Map(stored.map(({ seq, origin }) => [seq, origin as RoomReader])));
    }
    let at = 0;
    for (const { entries, resolve } of batch) {
      const refusal = results
        .slice(at, at + entries.length)
        .map(refusalOf)
        .find((code) => code !== undefined);
      at += entries.length;
      if (refusal === "PE403") on.onForbidden();
      resolve(refusal === undefined ? ackStatus.ok : (refusals[refusal] ?? ackStatus.invalidUpdate));
    }
  }

  async function enter(version: Version): Promise<LogState<Version>> {
    const state = await kind.read(key, version);
    room.tell({ is: "joined", position: state.position, incarnation: state.incarnation });
    return state;
  }

  function leave(reader: RoomReader): void {
    readers.delete(reader);
    room.tell({ is: "left" });
  }

  return {
    key,
    heard: (seq) => room.tell({ is: "heard", seq }),
    polled: (position) => room.tell({ is: "polled", position }),
    async join(reader, version) {
      readers.add(reader);
      try {
        const state = await (room.state.is === "unread" ? inTurn(() => enter(version)) : enter(version));
        if (room.state.is === "open" && room.state.incarnation === state.incarnation) return state;
        // A deletion that this room has not heard of.
        room.tell({ is: "in doubt" });
        throw new Error("the document was deleted while it was joined");
      } catch (error) {
        leave(reader);
        throw error;
      }
    },
    submit(entries, author, origin) {
      if (room.state.is === "over") return ackStatus.invalidUpdate;
      if (entries.length === 0) return ackStatus.ok;
      return new Promise((resolve) => {
        submissions.push({ entries, author, origin, at: performance.now(), resolve });
        room.tell({ is: "submitted" });
      });
    },
    leave,
  };
}

const seqOf = (result: EntryAppended | undefined) => (result && "seq" in result ? result.seq : undefined);
const refusalOf = (result: EntryAppended | undefined) => (result && "refused" in result ? result.refused : undefined);
