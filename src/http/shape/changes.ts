import { setTimeout as sleep } from "node:timers/promises";
import { PerchError } from "../../errors.js";
import type { Identity } from "../../identity/identity.js";
import { remember } from "../../lib/bounded-map.js";
import { readChangesTogether } from "../../shapes/changes-together.js";
import { tablesIn } from "../../shapes/filter.js";
import { definitionOf, type Snapshot, snapshotText } from "../../shapes/handle.js";
import { type ChangesPage, readChanges, shownUpto } from "../../shapes/queries.js";
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
  /**
   * Where a reader goes on who is far behind: behind what its first snapshot showed, as far as that is looked through at once. Not of a filter with
   * sub-selects, which looks at what changed in other tables.
   */
  passOver(identity: Identity, ask: ShapeRequest, from: ReadFrom): Promise<{ lsn: bigint; op: bigint }>;
  /** Whether changes have been read with this filter before, so that no constant in it is one that it fails by. */
  isProven(ask: Pick<ShapeRequest, "filter">, opened: Opened): boolean;
}

/** How long the turn of somebody else is waited for, who asked first: it may be long in coming, by what else that user does. */
const patienceMs = 100;
/** Filters of one statement; of one user, who may not fill it; and how long they may be: it is made in somebody else's turn. */
const maxFilters = 200;
const filtersOfUser = 20;
const maxFilterLength = 4_000;
/** Spaces of one statement, and of one user. */
const maxSpaces = 1_000;
const spacesOfUser = 200;
/** Positions: to read so many takes longer than to look which of them a reader has not been shown. */
const farBehind = 1_000n;
/** Filters that are known to be read. */
const maxProven = 20_000;

interface Asked {
  readonly identity: Identity;
  readonly ask: ShapeRequest;
  readonly opened: Opened;
  readonly from: ReadFrom;
  /** Its filter. */
  readonly text: string;
}

/** What was read says whose page is which; undefined: none, where the shape is another by now. */
type Pages = (asked: Asked) => ChangesPage | undefined;

/** What is read for all who ask for it meanwhile, in the turn of who asked first. */
class Evaluation {
  readonly filters = new Map<string, FilterNode | null>();
  readonly spaces = new Set<string>();
  readonly #ofUser = new Map<string, number>();
  #begins = () => {};
  /** Whether the turn has come of who asked; it takes nobody with another filter then, or in other spaces. */
  isBegun = false;
  /** Resolves when it has, or never will. */
  readonly begun = new Promise<void>((resolve) => {
    this.#begins = resolve;
  });
  readonly pages: Promise<Pages>;

  /** In: whether it is for other filters and spaces, too; what reads when its turn has come. */
  constructor(
    first: Asked,
    readonly isOpen: boolean,
    read: (evaluation: Evaluation) => Promise<Pages>,
  ) {
    this.#add(first);
    this.pages = read(this);
    this.pages.catch(() => this.#begins());
  }

  begins(): void {
    this.isBegun = true;
    this.#begins();
  }

  /** Out: whether it is read for this one, too. */
  takes(asked: Asked): boolean {
    const { text, opened, identity } = asked;
    const isNew = !this.filters.has(text) || opened.spaces.some((space) => !this.spaces.has(space));
    if (!isNew || !this.isOpen) return !isNew;
    if (this.isBegun || this.filters.size >= maxFilters || this.spaces.size >= maxSpaces) return false;
    if ((this.#ofUser.get(identity.userId) ?? 0) >= filtersOfUser) return false;
    this.#add(asked);
    return true;
  }

  #add({ text, ask, opened, identity: { userId } }: Asked): void {
    this.filters.set(text, ask.filter);
    for (const space of opened.spaces) this.spaces.add(space);
    this.#ofUser.set(userId, (this.#ofUser.get(userId) ?? 0) + 1);
  }
}

/**
 * Who asks at once what happened in the same stretch of the log gets it of one statement: for the same shape, and, where the table has no rules, for shapes
 * that differ in their filters and in whose spaces they show. So many readers cost the database what one does.
 *
 * Why nobody is told what is another's. A shape's definition says whose rows it shows: what was read for one is for those who have the same. What is read
 * for several is of a table whose rows and columns are the same for all who may read their space (`content`; the statement says whether that still holds),
 * in the spaces of those who ask; and of it each is given what is in the spaces of the own shape.
 *
 * A filter of somebody else is nobody's fault. Those that may fail for a row are not read with others. A constant that is none of its type fails before
 * any row is looked at: so each is read for itself once before it is read with others. Where all together fail all the same, or take too long,
 * or are more than a page, each is read for itself, too.
 */
export function createShapeChanges(
  reading: Pick<ShapeReading, "open" | "together" | "readsTogether">,
  { shapeChunkBytes: maxBytes }: { readonly shapeChunkBytes: number },
): ShapeChanges {
  const underWay = new Map<string, Evaluation>();
  const proven = new Map<string, true>();

  /** In: what tells its stretch and shape, or that of many, from all others. Out: undefined: there is none, or it is another shape by now. */
  async function shared(key: string, asked: Asked, isOpen: boolean): Promise<ChangesPage | undefined> {
    const other = underWay.get(key);
    if (other?.takes(asked)) {
      if (!other.isBegun) await Promise.race([other.begun, sleep(patienceMs, undefined, { ref: false })]);
      if (other.isBegun) {
        try {
          const page = (await other.pages)(asked);
          if (page !== undefined) return page;
        } catch (error) {
          // What the asker may not is nothing to the others, nor what one of their filters fails by.
          if (!(error instanceof PerchError) && !isOpen) throw error;
        }
        if (isOpen) return undefined;
      }
      // Somebody else may have asked meanwhile; who finds the same asks in the place of it.
      if (other.isBegun || underWay.get(key) !== other) return shared(key, asked, isOpen);
    }
    const mine = new Evaluation(asked, isOpen, isOpen ? together(asked) : alone(asked));
    underWay.set(key, mine);
    const done = () => underWay.get(key) === mine && underWay.delete(key);
    mine.pages.then(done, done);
    try {
      return (await mine.pages)(asked);
    } catch (error) {
      if (!isOpen) throw error;
      return undefined;
    }
  }

  function alone({ identity, ask, opened, from, text }: Asked) {
    const name = provenName(text, opened);
    return (evaluation: Evaluation): Promise<Pages> =>
      reading.open(identity, ask, async (tx, now) => {
        evaluation.begins();
        const page = await readChanges(tx, ask, { ...from, whole: ask.whole, maxBytes }).catch((error: unknown) => {
          // What it fails by may be new: a value of an enumeration has another name, say.
          proven.delete(name);
          throw error;
        });
        const isSame = isOf(now, page) && now.shape === opened.shape;
        if (isSame) remember(proven, name, true, maxProven);
        return () => (isSame ? page : undefined);
      });
  }

  function together({ identity, ask, opened, from }: Asked) {
    return (evaluation: Evaluation): Promise<Pages> =>
      reading.together(identity, async (db) => {
        evaluation.begins();
        const texts = [...evaluation.filters.keys()];
        const filters = [...evaluation.filters.values()];
        const options = { ...from, whole: ask.whole, maxBytes };
        const read = await readChangesTogether(db, ask, opened, [...evaluation.spaces], filters, options);
        return ({ text, opened: own }) =>
          read.content === own.content ? read.pageOf(texts.indexOf(text), own.spaces) : undefined;
      });
  }

  return {
    async read(identity, ask, opened, from) {
      const { content, shape, spaces } = opened;
      const { schema, table, columns, whole, filter } = ask;
      const isPlain = tablesIn(filter).length === 0;
      // Of a filter without sub-selects the page is the same whatever the reader began with.
      const since = isPlain ? undefined : from.since;
      const text = JSON.stringify(filter);
      const asked = { identity, ask, opened, text, from: { ...from, since } };
      const stretch = [from.lsn, from.op, from.upto].join();
      // In the middle of a transaction stands who has read a page of it.
      const isTogether = isPlain && from.op === 0n && text.length <= maxFilterLength && spaces.length <= spacesOfUser;
      if (content !== null && isTogether && reading.readsTogether && proven.has(provenName(text, opened))) {
        const page = await shared(JSON.stringify([content, schema, table, columns, whole, stretch]), asked, true);
        if (page !== undefined) return page;
      }
      return shared([shape, stretch, since && snapshotText(since)].join(), asked, false);
    },
    async passOver(identity, { filter }, { lsn, op, upto, since }) {
      const start = lsn + op;
      if (since === undefined || upto - start <= farBehind || tablesIn(filter).length > 0) return { lsn, op };
      const shown = await reading.together(identity, (db) => shownUpto(db, start, upto, since));
      return shown > start ? { lsn: shown, op: 0n } : { lsn, op };
    },
    isProven: ({ filter }, opened) => proven.has(provenName(JSON.stringify(filter), opened)),
  };
}

/** What a filter's constants are compared with, the columns' types decide: those are the table's, or the user's share of them. */
const provenName = (text: string, { content, definition }: Opened) => definitionOf(content ?? definition, text);
