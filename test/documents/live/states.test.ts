import { describe, expect, it } from "vitest";
import {
  type Event,
  firstState,
  isQuiet,
  maxImporting,
  mayCatchUp,
  mayCommit,
  rowOf,
  type State,
  step,
  type Use,
  type Waiting,
} from "../../../src/documents/live/states.js";

const uses: Use[] = [
  { is: "exclusive" },
  ...[0, 1, maxImporting].flatMap((importing) =>
    (["nothing", "commit", "catch-up"] as const).map((moving): Use => ({ is: "shared", importing, moving })),
  ),
];

const states: State[] = uses.flatMap((use) =>
  (["absent", "loaded"] as const).flatMap((replica) =>
    (["unread", "current", "behind"] as const).flatMap((readers) =>
      [0, 1].map((locks): State => ({ ...firstState, use, replica, readers, locks })),
    ),
  ),
);

const waitings: Waiting[] = ([undefined, "append", "exclusive"] as const).flatMap((next) =>
  [false, true].flatMap((staged) => [false, true].map((asked): Waiting => ({ next, staged, asked }))),
);

const events: Event[] = [
  { is: "waits" },
  { is: "import begun" },
  { is: "import ended" },
  { is: "commit begun" },
  { is: "catch-up begun" },
  { is: "moved" },
  { is: "exclusive use ended" },
  { is: "load failed" },
  { is: "replica loaded" },
  { is: "replica lost" },
  { is: "replica discarded" },
  { is: "read" },
  { is: "fell behind" },
  { is: "incarnation ended", why: "deleted", now: 1 },
  { is: "incarnation ended", why: "moved", now: 1 },
  { is: "locked" },
  { is: "unlocked" },
  { is: "closed" },
];

const all = states.flatMap((state) => waitings.map((waiting) => ({ state, waiting })));

/** One word for each thing that counts, in the order of the columns below. */
function wordsOf({ use, replica, readers, locks }: State, { next, staged, asked }: Waiting): string[] {
  const shared = use.is === "shared" ? use : undefined;
  return [
    use.is,
    shared ? String(shared.importing) : "-",
    shared?.moving ?? "-",
    readers,
    replica,
    next ?? "none",
    staged ? "staged" : "clear",
    asked ? "asked" : "calm",
    locks > 0 ? "locked" : "free",
  ];
}

/** Each state is in exactly one line; "*" is whatever, "a/b" either. */
const table = `
  use        importing  moving           readers         replica  next         staged  asked  lock | row        begins
  exclusive  *          *                *               *        *            *       *      *    | taken      -
  shared     0/1        *                unread/current  loaded   append       *       *      *    | import     import
  shared     4          *                unread/current  loaded   append       *       *      *    | full       -
  shared     *          nothing          unread/current  *        none         clear   asked  *    | catch up   catch up
  shared     *          nothing          unread/current  *        none         clear   calm   *    | rest       -
  shared     *          nothing          unread/current  *        none         staged  *      *    | rest       -
  shared     *          commit/catch-up  unread/current  *        none         *       *      *    | rest       -
  shared     0          nothing          unread/current  absent   append       clear   *      *    | load       load
  shared     0          nothing          behind          *        append/none  clear   *      *    | load       load
  shared     0          nothing          *               *        exclusive    clear   *      *    | exclusive  exclusive
  shared     0          nothing          unread/current  absent   append       staged  *      *    | drain      -
  shared     0          nothing          behind          *        append/none  staged  *      *    | drain      -
  shared     0          nothing          *               *        exclusive    staged  *      *    | drain      -
  shared     1/4        nothing          unread/current  absent   append       *       *      *    | drain      -
  shared     1/4        nothing          behind          *        append/none  *       *      *    | drain      -
  shared     1/4        nothing          *               *        exclusive    *       *      *    | drain      -
  shared     *          commit/catch-up  unread/current  absent   append       *       *      *    | drain      -
  shared     *          commit/catch-up  behind          *        append/none  *       *      *    | drain      -
  shared     *          commit/catch-up  *               *        exclusive    *       *      *    | drain      -`
  .trim()
  .split("\n")
  .slice(1)
  .map((line) => {
    const [left = "", right = ""] = line.split(" | ");
    const [row = "", begins = ""] = right.trim().split(/ {2,}/);
    return { columns: left.trim().split(/ +/), row, begins };
  });

const isLine = (columns: readonly string[], words: readonly string[]) =>
  columns.every((column, index) => column === "*" || column.split("/").includes(words[index] ?? ""));

/** What an event changes in a state where it can come; of the rest it changes nothing. */
function changed(state: State, event: Event): Partial<State> {
  const { use } = state;
  const shared = (changes: object) => (use.is === "shared" ? { use: { ...use, ...changes } } : {});
  const importing = use.is === "shared" ? use.importing : 0;
  switch (event.is) {
    case "waits":
      return {};
    case "import begun":
      return shared({ importing: importing + 1 });
    case "import ended":
      return shared({ importing: importing - 1 });
    case "commit begun":
      return shared({ moving: "commit" });
    case "catch-up begun":
      return shared({ moving: "catch-up" });
    case "moved":
      return shared({ moving: "nothing" });
    case "exclusive use ended":
      return use.is === "exclusive" ? { use: { is: "shared", importing: 0, moving: "nothing" } } : {};
    case "load failed":
      return state.readers === "behind" ? { readers: "current" } : {};
    case "replica loaded":
      return { replica: "loaded" };
    case "replica lost":
      return { replica: "absent" };
    case "replica discarded":
      return { replica: "absent", generation: state.generation + 1 };
    case "read":
      return { readers: "current" };
    case "fell behind":
      return { readers: "behind" };
    case "incarnation ended": {
      const rejoinUntil = event.why === "moved" ? event.now + 60_000 : state.rejoinUntil;
      return { readers: "unread", incarnation: state.incarnation + 1, rejoinUntil };
    }
    case "locked":
      return { locks: state.locks + 1 };
    case "unlocked":
      return { locks: state.locks - 1 };
    case "closed":
      return { door: "closed" };
  }
}

describe("an open document", () => {
  it("has one row for each state, which says what begins", () => {
    for (const { state, waiting } of all) {
      const words = wordsOf(state, waiting);
      const lines = table.filter(({ columns }) => isLine(columns, words));
      expect(lines, words.join(" ")).toHaveLength(1);
      const { row, begins } = lines[0] ?? {};
      expect(rowOf(state, waiting), words.join(" ")).toBe(row);
      const { actions } = step(state, { is: "waits" }, waiting);
      const besides = actions.filter((action) => action !== "commit");
      expect(besides, words.join(" ")).toEqual(begins === "-" ? [] : [begins]);
    }
    const used = new Set(all.map(({ state, waiting }) => rowOf(state, waiting)));
    expect(used).toEqual(new Set(table.map(({ row }) => row)));
  });

  it("is changed by each event as the table of events says, in each state, and then does what that state's row says", () => {
    for (const event of events) {
      for (const { state, waiting } of all) {
        const after: State = { ...state, ...changed(state, event) };
        const { state: reached, actions } = step(state, event, waiting);
        const takes = actions.includes("exclusive") || actions.includes("load");
        const where = `${event.is}: ${wordsOf(state, waiting).join(" ")}`;
        expect(reached, where).toEqual(takes ? { ...after, use: { is: "exclusive" } } : after);
        expect(actions, where).toEqual(step(after, { is: "waits" }, waiting).actions);
      }
    }
  });

  it("commits whenever something is staged, nothing moves the position, and its row is free", () => {
    for (const { state, waiting } of all) {
      const [use, , moving, , , , staged, , lock] = wordsOf(state, waiting);
      const due = `${use} ${moving} ${staged} ${lock}` === "shared nothing staged free";
      expect(mayCommit(state, waiting)).toBe(due);
      expect(step(state, { is: "waits" }, waiting).actions.includes("commit")).toBe(due);
    }
  });

  it("commits only when all who are about to lock its row have let go of it", () => {
    for (const { state, waiting } of all) {
      const twice: Event[] = [{ is: "locked" }, { is: "locked" }];
      const locked = twice.reduce((before, event) => step(before, event, waiting).state, state);
      const once = step(locked, { is: "unlocked" }, waiting);
      expect(once.actions).not.toContain("commit");
      expect(mayCommit(once.state, waiting)).toBe(false);
    }
  });

  it("is had by one alone only when nothing is imported, staged or moving", () => {
    for (const { state, waiting } of all) {
      const { actions } = step(state, { is: "waits" }, waiting);
      if (!actions.includes("exclusive") && !actions.includes("load")) continue;
      expect(state.use).toEqual({ is: "shared", importing: 0, moving: "nothing" });
      expect(waiting.staged).toBe(false);
      expect(actions).toHaveLength(1);
    }
  });

  it("has one thing at a time that moves the position", () => {
    for (const { state, waiting } of all) {
      if (!mayCommit(state, waiting) && !mayCatchUp(state, waiting)) continue;
      expect(state.use).toMatchObject({ is: "shared", moving: "nothing" });
      expect(mayCommit(state, waiting) && mayCatchUp(state, waiting)).toBe(false);
    }
  });

  it("lets nothing wait for ever: what waits begins, or something is under way whose end is an event, or a lock has to end", () => {
    const due = ({ readers }: State, { next, staged, asked }: Waiting) =>
      next !== undefined || staged || asked || readers === "behind";
    for (const { state, waiting } of all) {
      const { use, locks } = state;
      const isUnderWay = use.is === "exclusive" || use.importing > 0 || use.moving !== "nothing";
      const begins = step(state, { is: "waits" }, waiting).actions.length > 0;
      if (due(state, waiting)) expect(begins || isUnderWay || (waiting.staged && locks > 0)).toBe(true);
      else expect(begins).toBe(false);
      if (isQuiet(state, waiting)) expect(due(state, { ...waiting, asked: false }) || isUnderWay).toBe(false);
    }
  });
});
