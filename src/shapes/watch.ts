import { type Requirement, requirementOf } from "./requirement.js";
import type { FilterNode } from "./tree.js";

/** A table of the log, and spaces in it. */
export interface Place {
  readonly appId: string;
  readonly table: string;
  readonly spaces: ReadonlySet<string>;
}

/** Changes of a table, in some spaces, as they are looked for: made once for all who wait for them. */
export interface Watch {
  /** Of its own table. */
  readonly name: string;
  /** By table, its own among them: the spaces whose changes concern it. */
  readonly places: ReadonlyMap<string, ReadonlySet<string>>;
  readonly requirement: Requirement | undefined;
}

/** What is followed. */
export interface Wanted extends Place {
  /** The table in the database, and its columns, by name. */
  readonly schema: string;
  readonly relation: string;
  readonly columns: Readonly<Record<string, { readonly type: string }>>;
  readonly filter: FilterNode | null;
  /** Tables whose changes concern it as well: those of the filter's sub-selects. */
  readonly others: readonly Place[];
  /** The epoch of the log that positions are of. */
  readonly epoch: string;
}

/** The same as it is looked for. Made once for all who wait for it. */
export interface ShapeWatch extends Watch, Omit<Wanted, "spaces" | "others" | "columns"> {
  readonly filterText: string;
}

/** Who waits. Thousands do: it is a plain object of few fields, and whatever is the same for several of them is held once. */
export interface Waiter {
  readonly watch: ShapeWatch;
  readonly userId: string;
  /** It has read up to here. */
  readonly after: bigint;
}

export const nameOf = ({ appId, table }: Pick<Place, "appId" | "table">) => JSON.stringify([appId, table]);

export function watchOf({ spaces, others, columns, ...wanted }: Wanted): ShapeWatch {
  const places = [{ ...wanted, spaces }, ...others];
  return {
    ...wanted,
    name: nameOf(wanted),
    filterText: JSON.stringify(wanted.filter),
    places: new Map(places.map((place) => [nameOf(place), place.spaces])),
    // A row may move that did not change itself, with a sub-select.
    requirement: others.length === 0 ? requirementOf(wanted.filter, columns) : undefined,
  };
}
