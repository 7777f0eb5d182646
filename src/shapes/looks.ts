import type { Watch } from "./watch.js";

/** What a look at a stretch of the log has found. */
export interface Look {
  readonly before: bigint;
  readonly upto: bigint;
  /** By table, and there by space, up to where it has changed. */
  readonly changed: ReadonlyMap<string, ReadonlyMap<string, bigint>>;
  /** By table, and there by column, which values rows had that changed, before or after; of columns that are not here it is not known. */
  readonly values: ReadonlyMap<string, ReadonlyMap<string, ReadonlySet<string>>>;
}

/** What somebody who waits finds in a look: nothing; perhaps something; or something for certain. */
export type Finding = "nothing" | "perhaps" | "something";

/**
 * What is in a look for whoever has read up to `after`. Where it is about a table of a filter's sub-select, or about more than the column that a filter
 * requires something of, only Postgres can say more.
 */
export function findingOf({ changed, values }: Look, { name, places, requirement }: Watch, after: bigint): Finding {
  let finding: Finding = "nothing";
  for (const [table, spaces] of places) {
    const where = changed.get(table);
    if (where === undefined || ![...where].some(([space, at]) => at > after && spaces.has(space))) continue;
    if (table !== name) return "something";
    const had = requirement && values.get(name)?.get(requirement.column);
    if (requirement === undefined || had === undefined) finding = "perhaps";
    else if (overlap(requirement.values, had)) finding = requirement.isAll ? "something" : "perhaps";
  }
  return finding;
}

function overlap(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  const [few, many] = one.size < other.size ? [one, other] : [other, one];
  for (const value of few) if (many.has(value)) return true;
  return false;
}

/** What the looks behind a position come to. */
export interface Found {
  readonly finding: Finding;
  /** Up to here they have nothing. */
  readonly passed: bigint;
  readonly upto: bigint;
}

/** Looks that are remembered, and what they may hold together. */
const maxLooks = 200;
const maxHeld = 20_000;

/** The last looks, each beginning where the one before ended. */
export class Looks {
  #looks: Look[] = [];
  #held = 0;

  add(look: Look): void {
    if (this.#looks.length > 0 && this.#looks.at(-1)?.upto !== look.before) this.clear();
    this.#looks.push(look);
    this.#held += sizeOf(look);
    while (this.#looks.length > maxLooks || (this.#held > maxHeld && this.#looks.length > 0)) {
      this.#held -= sizeOf(this.#looks.shift() as Look);
    }
  }

  clear(): void {
    this.#looks = [];
    this.#held = 0;
  }

  /** Out: what they have found behind a position; undefined where they do not go so far back. */
  since(after: bigint, watch: Watch): Found | undefined {
    const [first] = this.#looks;
    const last = this.#looks.at(-1);
    if (first === undefined || last === undefined || first.before > after) return undefined;
    let found: Found = { finding: "nothing", passed: after, upto: last.upto };
    for (const look of this.#looks) {
      if (look.upto <= after) continue;
      const finding = findingOf(look, watch, after);
      if (finding === "nothing" || (finding === "perhaps" && found.finding === "perhaps")) continue;
      const passed = found.finding === "nothing" ? max(after, look.before) : found.passed;
      found = { ...found, finding, passed };
      if (finding === "something") break;
    }
    return found;
  }
}

const max = (one: bigint, other: bigint) => (one > other ? one : other);

function sizeOf({ changed, values }: Look): number {
  let size = 1;
  for (const spaces of changed.values()) size += spaces.size;
  for (const columns of values.values()) for (const had of columns.values()) size += had.size;
  return size;
}
