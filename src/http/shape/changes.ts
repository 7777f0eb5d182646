import { setTimeout as sleep } from "node:timers/promises";
import { PerchError } from "../../errors.js";
import type { Identity } from "../../identity/identity.js";
import { tablesIn } from "../../shapes/filter.js";
import { type Snapshot, snapshotText } from "../../shapes/handle.js";
import { type ChangesPage, readChanges, readChangesTogether } from "../../shapes/queries.js";
import type { FilterNode } from "../../shapes/tree.js";
import { isOf, type Opened, type ShapeReading } from "./reading.js";
import type { ShapeRequest } from "./request.js";

/** Where a reader stands, how far the log has come, and what the reader's first snapshot showed. */
export interface ReadFrom {
  readonly lsn: bigint;
  readonly op: bigint;
  readonly upto: bigint;
  readonly since: Snapshot | undefined;
}

/** What happens to shapes. */
export interface ShapeChanges {
  /**
   * What happened to a shape behind a position. In: the shape as it was opened for this user. Out: undefined where it is another by now. Errors:
   * PE401, PE404, PE410, PE413, PE422.
   */
  read(identity: Identity, ask: ShapeRequest, opened: Opened, from: ReadFrom): Promise<ChangesPage | undefined>;
}

/** How long the turn of somebody else is waited for, who asked first: it may be long in coming, by what else that user does. */
const patienceMs = 100;
/** Filters of one statement; of one user, who may not fill it; and how long they may be: it is made in somebody else's turn. */
const maxFilters = 200;
const filtersOfUser = 20;
const maxFilterLength = 4_000;

interface Asked {
  readonly identity: Identity;
  readonly ask: ShapeRequest;
  readonly opened: Opened;
  readonly from: ReadFrom;
  /** Its filter. */
  readonly text: string;
}

/** Pages by filter; undefined where rights changed while they were read. */
type Pages = ReadonlyMap<string, ChangesPage | undefined> | undefined;

/** What is read for all who ask for it meanwhile, in the turn and with the rights of who asked first. */
class Evaluation {
  readonly #filters = new Map<string, FilterNode | null>();
  readonly #ofUser = new Map<string, number>();
  #begins = () => {};
  /** Whether the turn has come of who asked; it takes no more filters then. */
  isBegun = false;
  /** Resolves when it has, or never will. */
  readonly begun = new Promise<void>((resolve) => {
    this.#begins = resolve;
  });
  readonly pages: Promise<Pages>;

  constructor(
    first: Asked,
    /** Whether other filters are read with it. */
    readonly isOpen: boolean,
    read: (begins: () => readonly (FilterNode | null)[]) => Promise<readonly (ChangesPage | undefined)[] | undefined>,
  ) {
    this.#filters.set(first.text, first.ask.filter);
    this.pages = read(() => {
      this.isBegun = true;
      this.#begins();
      return [...this.#filters.values()];
    }).then((pages) => pages && new Map([...this.#filters.keys()].map((text, nth) => [text, pages[nth]])));
    this.pages.catch(() => this.#begins());
  }

  get size(): number {
    return this.#filters.size;
  }

  /** Out: whether its filter is among those that are read. */
  takes({ text, ask, identity: { userId } }: Asked): boolean {
    if (this.#filters.has(text)) return true;
    const count = this.#ofUser.get(userId) ?? 0;
    if (!this.isOpen || this.isBegun || this.size >= maxFilters || count >= filtersOfUser) return false;
    this.#ofUser.set(userId, count + 1);
    this.#filters.set(text, ask.filter);
    return true;
  }
}

/**
 * Who asks at once what happened in the same stretch of the log gets it of one statement: for the same shape, and for shapes that differ in their
 * filters alone. So many readers cost the database what one does, whatever their filters are.
 *
 * Why nobody reads with the rights of another: what may make the rows of a table another shape for another user is in the definition that the
 * database gives (`openShape`). Who asks has been given one. The statement says by which it read, and its pages are for those who have the same.
 *
 * A filter of somebody else is nobody's fault: those that may fail for a row are not read with others, and where all together fail, or take too long,
 * or are more than a page, each is read for itself.
 */
export function createShapeChanges(
  reading: Pick<ShapeReading, "open" | "openForMany">,
  { shapeChunkBytes: maxBytes }: { readonly shapeChunkBytes: number },
): ShapeChanges {
  const underWay = new Map<string, Evaluation>();

  /** In: what tells its stretch and shape, or that of many, from all others. Out: undefined: there is none, or it is another shape by now. */
  async function shared(key: string, asked: Asked, isOpen: boolean): Promise<ChangesPage | undefined> {
    const other = underWay.get(key);
    if (other?.takes(asked)) {
      if (!other.isBegun) await Promise.race([other.begun, sleep(patienceMs, undefined, { ref: false })]);
      if (other.isBegun) {
        try {
          const page = (await other.pages)?.get(asked.text);
          if (page !== undefined) return page;
        } catch (error) {
          // What the asker may not is nothing to the others, nor what one of their filters fails by.
          if (!(error instanceof PerchError) && other.size === 1) throw error;
        }
      }
      if (isOpen && other.isBegun) return undefined;
      // Somebody else may have asked meanwhile; who finds the same asks in the place of it.
      if (other.isBegun || underWay.get(key) !== other) return shared(key, asked, isOpen);
    }
    const mine = new Evaluation(asked, isOpen, (begins) => evaluate(asked, isOpen, begins));
    underWay.set(key, mine);
    const done = () => underWay.get(key) === mine && underWay.delete(key);
    mine.pages.then(done, done);
    try {
      return (await mine.pages)?.get(asked.text);
    } catch (error) {
      if (mine.size === 1) throw error;
      return undefined;
    }
  }

  function evaluate(
    { identity, ask, opened: { definition, shape }, from }: Asked,
    isOpen: boolean,
    begins: () => readonly (FilterNode | null)[],
  ): Promise<readonly (ChangesPage | undefined)[] | undefined> {
    const { whole } = ask;
    if (!isOpen) {
      return reading.open(identity, ask, async (tx, now) => {
        begins();
        const page = await readChanges(tx, ask, { ...from, whole, maxBytes });
        return isOf(now, page) && now.shape === shape ? [page] : undefined;
      });
    }
    return reading.openForMany(identity, ask, async (tx, now) => {
      const filters = begins();
      const pages =
        filters.length === 1
          ? [await readChanges(tx, ask, { ...from, whole, maxBytes })]
          : await readChangesTogether(tx, ask, filters, { ...from, whole, maxBytes });
      const isSame = pages.every((page) => page === undefined || isOf(now, page));
      return isSame && now.definition === definition ? pages : undefined;
    });
  }

  return {
    async read(identity, ask, opened, from) {
      const { definition, shape } = opened;
      const { schema, table, columns, whole, filter } = ask;
      const isPlain = tablesIn(filter).length === 0;
      // Of a filter without sub-selects the page is the same whatever the reader began with.
      const since = isPlain ? undefined : from.since;
      const text = JSON.stringify(filter);
      const asked = { identity, ask, opened, text, from: { ...from, since } };
      const stretch = [from.lsn, from.op, from.upto].join();
      // In the middle of a transaction stands who has read a page of it.
      if (isPlain && from.op === 0n && text.length <= maxFilterLength) {
        const group = JSON.stringify([definition, schema, table, columns, whole, stretch]);
        const page = await shared(group, asked, true);
        if (page !== undefined) return page;
      }
      return shared([shape, stretch, since && snapshotText(since)].join(), asked, false);
    },
  };
}
