import { setTimeout as sleep } from "node:timers/promises";
import { isCancelled } from "../../database/errors.js";
import type { Shares } from "../../database/shares.js";
import type { Transaction } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import type { Identity } from "../../identity/identity.js";
import { tablesIn } from "../../shapes/filter.js";
import { definitionOf, type Handle, type Snapshot, snapshotText } from "../../shapes/handle.js";
import {
  type ChangesPage,
  type Definitions,
  keepNumbers,
  type LogMoment,
  logMoment,
  type OpenedShape,
  openShape,
  readChanges,
} from "../../shapes/queries.js";
import type { SlowFilters } from "../../shapes/slow-filters.js";
import type { OnBehalf } from "../on-behalf.js";
import { type Development, developmentApp } from "./development.js";
import type { ShapeRequest } from "./request.js";

/** What a user may see of a shape, and what names it. */
export interface Opened extends OpenedShape {
  /** What the shape is, with whose rows: what a handle has to say. */
  readonly shape: string;
  /** The tables of the filter's sub-selects. */
  readonly selected: readonly OpenedShape[];
}

/** Whether what was read was read by the rights that the shape was opened with: the statement that read it came later. */
export function isOf(
  { definition, selected }: Opened,
  { definitions }: { readonly definitions: Definitions },
): boolean {
  return [definition, ...selected.map((other) => other.definition)].join() === definitions.join();
}

/** A page of a shape's log, and in which rights it was read. */
interface SharedPage {
  readonly opened: Opened;
  readonly page: ChangesPage;
}

export interface ShapeReading {
  /** Runs work in a transaction of the user, with the shape opened; perhaps on a standby, and perhaps twice. Errors: PE401, PE404; as `work`. */
  open<T>(identity: Identity, ask: ShapeRequest, work: Work<T>): Promise<T>;
  /** The same on the server that writes: for what asks which snapshot of Postgres it sees. */
  openThere<T>(identity: Identity, ask: ShapeRequest, work: Work<T>): Promise<T>;
  /** How far the log has come. */
  position(): Promise<Pick<LogMoment, "position" | "epoch">>;
  /**
   * The same for who begins, and in which snapshot that was seen; undefined: it is that of whoever reads next, since no standby does. A
   * standby shows nothing of which it could say what it shows: it does not tell which transactions are open. So there the rows are read as of this
   * snapshot, and what is later is taken back, as in the chunks behind the first. Errors: PE413.
   */
  moment(): Promise<LogMoment>;
  /** For whoever is told of a snapshot that was taken before. */
  keepNumbers(): Promise<void>;
  /**
   * What happened to a shape behind a position. Who asks the same of the same shape at once gets the same answer, of one evaluation. Out:
   * undefined where the shape of this user is another by now. Errors: PE401, PE404, PE410, PE413, PE422.
   */
  changes(identity: Identity, ask: ShapeRequest, shape: string, from: ReadFrom): Promise<SharedPage | undefined>;
}

type Work<T> = (tx: Transaction, opened: Opened) => Promise<T>;

/** Where a reader stands, how far the log has come, and what the reader's first snapshot showed. */
export interface ReadFrom {
  readonly lsn: bigint;
  readonly op: bigint;
  readonly upto: bigint;
  readonly since: Snapshot | undefined;
}

export interface ReadingSettings {
  readonly shapeStatementMs: number;
  readonly shapeChunkBytes: number;
}

/**
 * Reads shapes on behalf of users, each in its user's turn.
 *
 * Why a standby may answer. It has all that was in the log when it was asked, so also what the handle and the offset tell of, and the position up to
 * which is read: that was asked of the primary before. Between two positions the log says the same wherever it is read. Rights are those of a moment
 * behind the request. That what is shown first is a moment of the primary is said at `moment`.
 */
export function createShapeReading(
  shares: Shares,
  onBehalf: OnBehalf,
  settings: ReadingSettings,
  development: Development | undefined,
  slow: SlowFilters,
): ShapeReading {
  const underWay = new Map<string, Evaluation>();

  function openBy<T>(by: OnBehalf["read"], identity: Identity, ask: ShapeRequest, work: Work<T>) {
    return by(identity, async (tx) => {
      // What a filter costs is bounded by time: it is ended by the server, and its user's turn with it.
      await tx.script(`set local statement_timeout = ${Number(settings.shapeStatementMs)}`);
      const opened = await openShape(tx, ask);
      const { schema, table, filter, columns, whole, changesOnly } = ask;
      const selected: OpenedShape[] = [];
      for (const other of tablesIn(filter)) selected.push(await openShape(tx, other));
      const others = selected.map(({ definition }) => definition);
      const shape = definitionOf(opened.definition, schema, table, filter, columns, whole, changesOnly, ...others);
      if (development !== undefined) {
        // Synced for everybody, and this one has not been let in yet.
        if ([opened, ...selected].some(({ app_id, spaces }) => app_id === developmentApp && spaces.length === 0)) {
          throw new PerchError("PE404", `there is nothing of ${table} for this user yet`, { argument: "table" });
        }
        development.note(shape, { schema, table });
      }
      if (ask.where === "") return work(tx, { ...opened, shape, selected });
      const began = performance.now();
      let failed: unknown;
      try {
        return await work(tx, { ...opened, shape, selected });
      } catch (error) {
        failed = error;
        throw error;
      } finally {
        const took = performance.now() - began;
        slow.note({ ...ask, userId: identity.userId }, took, isCancelled(failed));
      }
    });
  }

  const open = <T>(identity: Identity, ask: ShapeRequest, work: Work<T>) => openBy(onBehalf.look, identity, ask, work);

  async function changes(
    identity: Identity,
    ask: ShapeRequest,
    shape: string,
    from: ReadFrom,
  ): Promise<SharedPage | undefined> {
    // Of a filter without sub-selects the page is the same whatever the reader began with.
    const since = tablesIn(ask.filter).length > 0 ? from.since : undefined;
    const key = [shape, from.lsn, from.op, from.upto, since && snapshotText(since)].join();
    const other = underWay.get(key);
    if (other !== undefined) {
      if (!other.isBegun) await Promise.race([other.begun, sleep(patienceMs, undefined, { ref: false })]);
      if (other.isBegun) {
        try {
          const result = await other.result;
          if (result?.opened.shape === shape) return result;
        } catch (error) {
          // What the asker may not is nothing to the others.
          if (!(error instanceof PerchError)) throw error;
        }
      }
      // Somebody else may have asked meanwhile; who finds the same asks in the place of it.
      if (other.isBegun || underWay.get(key) !== other) return changes(identity, ask, shape, from);
    }
    const mine = evaluation((begins) =>
      open(identity, ask, async (tx, opened) => {
        begins();
        const page = await readChanges(tx, ask, {
          ...{ ...from, since, whole: ask.whole },
          maxBytes: settings.shapeChunkBytes,
        });
        return isOf(opened, page) ? { opened, page } : undefined;
      }),
    );
    underWay.set(key, mine);
    const done = () => underWay.get(key) === mine && underWay.delete(key);
    mine.result.then(done, done);
    const result = await mine.result;
    return result?.opened.shape === shape ? result : undefined;
  }

  const position = () => logMoment(shares.reads);
  return {
    open,
    openThere: (identity, ask, work) => openBy(onBehalf.read, identity, ask, work),
    position,
    async moment() {
      const moment = await position();
      if (!onBehalf.looksElsewhere) return { ...moment, snapshot: undefined };
      return { ...moment, snapshot: snapshotOf(moment.snapshot) };
    },
    keepNumbers: () => keepNumbers(shares.reads),
    changes,
  };
}

/** How long the turn of somebody else is waited for, who asked for the same first: it may be long in coming, by what else that user does. */
const patienceMs = 100;

/** What is read for all who ask for it meanwhile; undefined where rights changed while it was. */
interface Evaluation {
  readonly result: Promise<SharedPage | undefined>;
  /** Whether the turn has come of who asked. */
  readonly isBegun: boolean;
  /** Resolves when it has, or never will. */
  readonly begun: Promise<void>;
}

function evaluation(read: (begins: () => void) => Promise<SharedPage | undefined>): Evaluation {
  let isBegun = false;
  let tell = () => {};
  const begun = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const result = read(() => {
    isBegun = true;
    tell();
  });
  result.catch(tell);
  return {
    result,
    begun,
    get isBegun() {
      return isBegun;
    },
  };
}

/** Errors: PE413. */
export function snapshotOf(snapshot: Snapshot | undefined): Snapshot {
  if (snapshot === undefined) throw new PerchError("PE413", "more transactions are open than a handle can name");
  return snapshot;
}

/** Of a page what the reader does not have from its snapshot already. */
export function unseen({ messages, txids }: ChangesPage, shows: (txid: bigint) => boolean): string[] {
  return messages.filter((_, nth) => !shows(txids[nth] as bigint));
}

/**
 * A handle that is sent with 409: no log goes on with it, so that whoever has it begins anew. Clients go on to ask for subsets with it.
 */
export function refetchHandle(shape: string): Handle {
  return newHandle(definitionOf(shape, "must-refetch"), 0n, undefined);
}

/** A handle for a shape that a reader begins with; it is never that of another. */
export function newHandle(shape: string, since: bigint, snapshot: Handle["snapshot"]): Handle {
  return { definition: shape, since, snapshot, made: Date.now() };
}
