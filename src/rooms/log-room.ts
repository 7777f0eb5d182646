import type { DocumentKey } from "../documents/key.js";
import { newRevision } from "../documents/live/queries.js";
import type { Identity } from "../identity/identity.js";
import { createMutex } from "../lib/keyed-mutex.js";
import { createMachine } from "../lib/state-machine.js";
import { type AckStatus, ackStatus } from "../protocol/protocol.js";
import type { EntryAppended, LoggedEntry, LogKind, LogPosition, LogState } from "./log-kind.js";
import { createLogLines, type Part } from "./log-lines.js";
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
const refusals: Record<string, AckStatus> = { PE403: ackStatus.permissionDenied, PE413: ackStatus.payloadTooLarge };
const statusOf = (refusal: string | undefined): AckStatus =>
  refusal === undefined ? ackStatus.ok : (refusals[refusal] ?? ackStatus.invalidUpdate);
/** What an entry that waits takes in memory besides its bytes, which are counted where they came in. */
const bytesOfEntry = 500;

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
  const lines = createLogLines<Entry>((entry) => kind.payloadOf(entry).length);
  let resting: NodeJS.Timeout | undefined;
  const inTurn = createMutex();
  const waits = () => ({ submitted: lines.waiting, readers: readers.size });
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
        for (const { resolve } of lines.clear()) resolve(ackStatus.invalidUpdate);
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

  /** One transaction. Of a submission that is more, what is committed stays. */
  async function append(): Promise<void> {
    const parts = lines.take();
    const all = parts.flatMap(({ entries, submission: { author, origin } }) =>
      entries.map((entry) => ({ entry, author, origin })),
    );
    const before = positionOf(room.state);
    const place = { incarnation: incarnationOf(room.state), after: before, revision: newRevision() };
    let results: readonly EntryAppended[];
    try {
      results = await kind.append(key, place, all);
    } catch (error) {
      on.onFault(error);
      for (const { submission } of parts) {
        lines.drop(submission);
        submission.resolve(ackStatus.unknown);
      }
      // It may have been committed all the same.
      return room.tell({ is: "in doubt" });
    }
    const stored: Delivered[] = all.flatMap(({ entry, origin }, n) => {
      const seq = seqOf(results[n]);
      return seq === undefined ? [] : [{ seq, payload: kind.payloadOf(entry), origin }];
    });
    const last = stored.at(-1)?.seq ?? before.seq;
    if (stored.length > 0) on.onCommitted(stored.length, performance.now() - (parts[0]?.submission.at ?? 0));
    const isEnded = results.some((result) => refusalOf(result) === "PE410");
    if (stored.length > 0 && !isEnded && last === before.seq + stored.length) {
      deliver(stored, { seq: last, revision: place.revision });
    } else if (stored.length > 0 || isEnded) {
      // Others' came in between, or the document was deleted. What is stored is stored, whether it can be read now or not.
      await catchUp(new Map(stored.map(({ seq, origin }) => [seq, origin as RoomReader])));
    }
    answer(parts, results);
  }

  /** Tells those of whom this was the last part. */
  function answer(parts: readonly Part<Entry>[], results: readonly EntryAppended[]): void {
    let at = 0;
    for (const { submission, entries, isLast } of parts) {
      const refusals = results.slice(at, at + entries.length).map(refusalOf);
      submission.refusal ??= refusals.find((code) => code !== undefined);
      at += entries.length;
      if (!isLast) continue;
      if (submission.refusal === "PE403") on.onForbidden();
      submission.resolve(statusOf(submission.refusal));
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
        let held = entries.length * bytesOfEntry;
        origin.hold(held);
        const done = (status: AckStatus) => {
          origin.hold(-held);
          held = 0;
          resolve(status);
        };
        lines.add({ entries, author, origin, at: performance.now(), taken: 0, refusal: undefined, resolve: done });
        room.tell({ is: "submitted" });
      });
    },
    leave,
  };
}

const seqOf = (result: EntryAppended | undefined) => (result && "seq" in result ? result.seq : undefined);
const refusalOf = (result: EntryAppended | undefined) => (result && "refused" in result ? result.refused : undefined);
