import { isCancelled } from "../../database/errors.js";
import type { Shares } from "../../database/shares.js";
import type { Database, Queryable, Transaction } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import type { Identity } from "../../identity/identity.js";
import { tablesIn } from "../../shapes/filter.js";
import { definitionOf, type Handle, type Snapshot } from "../../shapes/handle.js";
import {
  type ChangesPage,
  type Definitions,
  keepNumbers,
  type LogMoment,
  logMoment,
  type OpenedShape,
  openShape,
} from "../../shapes/queries.js";
import type { SlowFilters } from "../../shapes/slow-filters.js";
import { type OnBehalf, turnMs } from "../on-behalf.js";
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

export interface ShapeReading {
  /** Runs work in a transaction of the user, with the shape opened; perhaps on a standby, and perhaps twice. Errors: PE401, PE404; as `work`. */
  open<T>(identity: Identity, ask: ShapeRequest, work: Work<T>): Promise<T>;
  /** The same on the server that writes: for what asks which snapshot of Postgres it sees. */
  openThere<T>(identity: Identity, ask: ShapeRequest, work: Work<T>): Promise<T>;
  /** In the user's turn, with the rights of perch_worker: for what is the same for several readers. */
  together<T>(identity: Identity, work: (db: Queryable) => Promise<T>): Promise<T>;
  /** Whether to do so: not where standbys read, so that the server which writes need not. */
  readonly readsTogether: boolean;
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
}

type Work<T> = (tx: Transaction, opened: Opened) => Promise<T>;

export interface ReadingSettings {
  readonly shapeStatementMs: number;
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

  function together<T>({ userId }: Identity, work: (db: Queryable) => Promise<T>): Promise<T> {
    const inTransaction = (db: Database) =>
      db.transaction(async (tx) => {
        await tx.script(`set local statement_timeout = ${Number(settings.shapeStatementMs)}`);
        return work(tx);
      });
    return shares.turn(userId, inTransaction, performance.now() + turnMs);
  }

  const position = () => logMoment(shares.reads);
  return {
    together,
    readsTogether: !onBehalf.looksElsewhere,
    open: (identity, ask, work) => openBy(onBehalf.look, identity, ask, work),
    openThere: (identity, ask, work) => openBy(onBehalf.read, identity, ask, work),
    position,
    async moment() {
      const moment = await position();
      if (!onBehalf.looksElsewhere) return { ...moment, snapshot: undefined };
      return { ...moment, snapshot: snapshotOf(moment.snapshot) };
    },
    keepNumbers: () => keepNumbers(shares.reads),
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
