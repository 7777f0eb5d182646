import { describe, expect, it } from "vitest";
import {
  type Event,
  firstState,
  rowOf,
  type State,
  step,
  type Waiting,
  type Work,
} from "../../src/rooms/log-room-states.js";

const at = (seq: number) => ({ seq, revision: 7 });
const works: Work[] = [{ is: "none" }, { is: "append" }, { is: "catch up", heard: 5 }, { is: "catch up", heard: 6 }];
const opens = works.flatMap((work) =>
  [5, 6].flatMap((heard) =>
    [false, true].map((rests): Extract<State, { is: "open" }> => {
      return { is: "open", position: at(5), incarnation: 1, heard, work, rests };
    }),
  ),
);
const states: State[] = [firstState, { is: "unread", heard: 6 }, ...opens, { is: "over" }];
const waitings: Waiting[] = [false, true].flatMap((submitted) => [0, 2].map((readers) => ({ submitted, readers })));
const all = states.flatMap((state) => waitings.map((waiting) => ({ state, waiting })));

/** Each state is in exactly one line; "*" is whatever. */
const table = `
  is      work       beyond  rests  submitted  readers | row       begins    then
  over    *          *       *      *          *       | over      -         over
  open    append     *       *      *          *       | busy      -         append
  open    catch-up   *       *      *          *       | busy      -         catch-up
  open    none       *       *      yes        *       | append    append    append
  open    none       *       *      no         none    | left      end       over
  open    none       yes     no     no         some    | catch up  catch up  catch-up
  open    none       yes     yes    no         some    | rest      -         none
  open    none       no      *      no         some    | rest      -         none
  unread  *          *       *      *          none    | left      end       over
  unread  *          *       *      *          some    | rest      -         unread`
  .trim()
  .split("\n")
  .slice(1)
  .map((line) => {
    const [left = "", right = ""] = line.split(" | ");
    const [row = "", begins = "", then = ""] = right.trim().split(/ {2,}/);
    return { columns: left.trim().split(/ +/), row, begins, then };
  });

const workOf = (state: State) => (state.is === "open" ? state.work.is.replace(" ", "-") : state.is);

function wordsOf(state: State, { submitted, readers }: Waiting): string[] {
  const beyond = state.is === "open" && state.heard > state.position.seq;
  const rests = state.is === "open" && state.rests;
  const yes = (is: boolean) => (is ? "yes" : "no");
  return [state.is, workOf(state), yes(beyond), yes(rests), yes(submitted), readers > 0 ? "some" : "none"];
}

describe("a room that is a log", () => {
  it("has one row for each state, which says what begins", () => {
    for (const { state, waiting } of all) {
      const words = wordsOf(state, waiting);
      const lines = table.filter(({ columns }) => columns.every((column, n) => column === "*" || column === words[n]));
      expect(lines, words.join(" ")).toHaveLength(1);
      const { row, begins, then } = lines[0] ?? {};
      expect(rowOf(state, waiting), words.join(" ")).toBe(row);
      const { state: reached, actions } = step(state, { is: "submitted" }, waiting);
      expect(actions, words.join(" ")).toEqual(begins === "-" ? [] : [begins]);
      expect(workOf(reached), words.join(" ")).toBe(then);
    }
  });

  /** What an event makes of an open room. What is not named stays. */
  const changes: [Event, (state: Extract<State, { is: "open" }>) => object][] = [
    [{ is: "submitted" }, () => ({})],
    [{ is: "left" }, () => ({})],
    [{ is: "rested" }, () => ({ rests: false })],
    [{ is: "heard", seq: 4 }, () => ({})],
    [{ is: "heard", seq: 9 }, () => ({ heard: 9 })],
    [{ is: "polled", position: at(5) }, () => ({})],
    [{ is: "polled", position: at(9) }, () => ({ heard: 9 })],
    // The database went back, to below the position or to where other positions were given out again: that has to be read.
    [{ is: "polled", position: at(3) }, () => ({ heard: 6 })],
    [{ is: "polled", position: { seq: 5, revision: 8 } }, () => ({ heard: 6 })],
    [{ is: "in doubt" }, () => ({ heard: 6 })],
    [{ is: "joined", position: at(5), incarnation: 1 }, () => ({})],
    [{ is: "joined", position: at(9), incarnation: 1 }, () => ({ heard: 9 })],
    [{ is: "delivered", position: at(6) }, () => ({ position: at(6), heard: 6 })],
    [{ is: "read failed" }, () => ({ heard: 6, rests: true })],
    // What was in doubt has been read, and was not there; what was heard meanwhile stays.
    [
      { is: "done", well: true },
      ({ work, heard }) => ({
        work: { is: "none" },
        ...(work.is === "catch up" && work.heard === heard && { heard: 5 }),
      }),
    ],
    [{ is: "done", well: false }, () => ({ work: { is: "none" } })],
  ];

  it("is changed by each event in each state, and then does what that state's row says", () => {
    for (const [event, change] of changes) {
      for (const open of opens) {
        for (const waiting of waitings) {
          const after: State = { ...open, ...change(open) };
          const { state, actions } = step(open, event, waiting);
          const then = step(after, { is: "left" }, waiting);
          expect(state, `${event.is}: ${wordsOf(open, waiting).join(" ")}`).toEqual(then.state);
          const rest = event.is === "read failed" && then.state.is === "open" ? ["rest"] : [];
          expect(actions).toEqual([...rest, ...then.actions]);
        }
      }
    }
  });

  it("opens with the first backfill, which what was heard before may be behind of", () => {
    const waiting = { submitted: false, readers: 1 };
    const joined: Event = { is: "joined", position: at(5), incarnation: 1 };
    const open = { is: "open", position: at(5), incarnation: 1, rests: false };
    expect(step(firstState, joined, waiting)).toEqual({
      state: { ...open, heard: 5, work: { is: "none" } },
      actions: [],
    });
    expect(step({ is: "unread", heard: 6 }, joined, waiting)).toEqual({
      state: { ...open, heard: 6, work: { is: "catch up", heard: 6 } },
      actions: ["catch up"],
    });
    for (const [event] of changes.filter(([{ is }]) => is !== "joined" && is !== "heard"))
      expect(step(firstState, event, waiting)).toEqual({ state: firstState, actions: [] });
  });

  it("ends once, and is over for good", () => {
    for (const { state, waiting } of all) {
      const ended = step(state, { is: "ended" }, waiting);
      expect(ended).toEqual({ state: { is: "over" }, actions: state.is === "over" ? [] : ["end"] });
      for (const [event] of changes) expect(step({ is: "over" }, event, waiting).actions).toEqual([]);
    }
  });

  it("lets nothing wait for ever: what is submitted or beyond begins, or something ends by an event or a clock", () => {
    for (const { state, waiting } of all) {
      if (state.is !== "open") continue;
      const isUnderWay = state.work.is !== "none" || state.rests;
      const isDue = waiting.submitted || (state.heard > state.position.seq && waiting.readers > 0);
      const { actions } = step(state, { is: "left" }, waiting);
      if (isDue) expect(actions.length > 0 || isUnderWay).toBe(true);
    }
  });
});
