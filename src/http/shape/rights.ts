import type { Queryable } from "../../database/types.js";
import type { Identity } from "../../identity/identity.js";
import { remember } from "../../lib/bounded-map.js";
import { tablesIn } from "../../shapes/filter.js";
import { definitionOf } from "../../shapes/handle.js";
import { type LogMoment, type OpenedShape, type ShapeRights, shapeRights } from "../../shapes/queries.js";
import type { Opened, ShapeReading } from "./reading.js";
import type { ShapeRequest } from "./request.js";

/** A shape as it is for a user at this moment, and how far the log had come. */
export interface Verified {
  readonly opened: Opened;
  readonly moment: LogMoment;
}

/** What readers of shapes may see, looked at with each of their requests. */
export interface Rights {
  /** Errors: PE401, PE404. */
  verify(identity: Identity, ask: ShapeRequest): Promise<Verified>;
}

type Table = Pick<ShapeRequest, "schema" | "table">;

/** Who waits for the next statement. */
interface Asked {
  readonly userId: string;
  readonly tables: readonly Table[];
  readonly heard: (rights: ShapeRights, digest: string) => void;
  readonly failed: (error: unknown) => void;
}

/** Shapes of users that are remembered; what several of them have alike; and how large that may be, in spaces and columns. */
const maxKnown = 20_000;
const maxDefinitions = 2_000;
const maxParts = 200;
/** Those who are told by one statement; of one user, who may not fill it; and of which tables. */
const maxAsked = 1_000;
const maxOfUser = 20;
const maxTables = 50;

/**
 * Opening a shape is most of what a request costs that finds nothing new, and says what it said a second ago. So what was said is remembered together with
 * a digest of all that decides it; and one statement tells the digests of all who ask meanwhile, which cost next to nothing.
 *
 * Why that is as good as opening it: the digests are those of a moment behind the request, as the rights would be. They were asked for before the shape
 * was opened, so what was opened is of their moment or a later one; if something changed between, they are not told again.
 */
export function createRights(db: Queryable, reading: Pick<ShapeReading, "open">): Rights {
  const known = new Map<string, { readonly digest: string; readonly opened: Opened }>();
  const definitions = new Map<string, OpenedShape>();
  let waiting: Asked[] = [];
  let isAsking = false;

  /** Resolves with the answer to a statement that begins behind this call. */
  function digestOf(userId: string, tables: readonly Table[]): Promise<{ rights: ShapeRights; digest: string }> {
    return new Promise((resolve, reject) => {
      waiting.push({ userId, tables, heard: (rights, digest) => resolve({ rights, digest }), failed: reject });
      if (isAsking) return;
      isAsking = true;
      // Those who are there already come along.
      setImmediate(() => void askForAll());
    });
  }

  /** Takes those who came first, as far as one statement goes. */
  function next(): { readonly asked: readonly Asked[]; readonly tables: ReadonlyMap<string, Table> } {
    const tables = new Map<string, Table>();
    const ofUser = new Map<string, number>();
    const [asked, others]: [Asked[], Asked[]] = [[], []];
    for (const one of waiting) {
      const count = ofUser.get(one.userId) ?? 0;
      const isNew = one.tables.filter((table) => !tables.has(nameOf(table)));
      const fits = asked.length < maxAsked && count < maxOfUser && tables.size + isNew.length <= maxTables;
      (fits ? asked : others).push(one);
      if (!fits) continue;
      ofUser.set(one.userId, count + 1);
      for (const table of isNew) tables.set(nameOf(table), table);
    }
    waiting = others;
    return { asked, tables };
  }

  async function askForAll(): Promise<void> {
    while (waiting.length > 0) {
      const { asked, tables } = next();
      try {
        const names = [...tables.keys()];
        const userIds = [...new Set(asked.map(({ userId }) => userId))];
        const rights = await shapeRights(db, userIds, [...tables.values()]);
        for (const { userId, tables: own, heard } of asked) {
          const digests = own.map((table) => rights.tables[names.indexOf(nameOf(table))]);
          heard(rights, [rights.users.get(userId), ...digests].join());
        }
      } catch (error) {
        for (const { failed } of asked) failed(error);
      }
    }
    isAsking = false;
  }

  /** What is the same for many users is held once. */
  function sharing<T extends OpenedShape>(opened: T): T {
    const same = definitions.get(opened.definition) ?? opened;
    remember(definitions, same.definition, same, maxDefinitions);
    const { spaces, columns } = same;
    return { ...opened, spaces, columns };
  }

  return {
    async verify(identity, ask) {
      const { userId, spaceIds, writableSpaceIds } = identity;
      const { schema, table, filter, where, columns, whole, changesOnly } = ask;
      const key = definitionOf(
        ...[userId, spaceIds, writableSpaceIds],
        ...[schema, table, where, filter, columns, whole, changesOnly],
      );
      const { rights, digest } = await digestOf(userId, [{ schema, table }, ...tablesIn(filter)]);
      const before = known.get(key);
      if (before?.digest === digest) return { opened: before.opened, moment: rights.moment };
      const opened = await reading.open(identity, ask, async (_, now) => now);
      if (partsOf(opened) <= maxParts) {
        const shared = { ...sharing(opened), selected: opened.selected.map(sharing) };
        remember(known, key, { digest, opened: shared }, maxKnown);
      }
      return { opened, moment: rights.moment };
    },
  };
}

const partsOf = ({ spaces, columns, selected }: Opened): number =>
  [{ spaces, columns }, ...selected].reduce((sum, one) => sum + one.spaces.length + Object.keys(one.columns).length, 0);

const nameOf = ({ schema, table }: Table) => JSON.stringify([schema, table]);
