import { describe, expect, it, vi } from "vitest";
import { createBroadcast, type Event, type State, step } from "../../src/rooms/broadcast.js";
import type { RoomReader } from "../../src/rooms/room.js";

const named = (name: string) => ({ name }) as unknown as RoomReader;
const [ada, bob] = [named("ada"), named("bob")];

const states: Record<string, State> = {
  quiet: { is: "quiet" },
  "due from ada": { is: "due", by: ada },
  "due from several": { is: "due", by: "several" },
  behind: { is: "behind" },
  over: { is: "over" },
};
const events: Record<string, Event> = {
  "ada changes": { is: "changed", by: ada },
  "bob changes": { is: "changed", by: bob },
  "the time has come": { is: "time" },
  "all have it": { is: "passed on", behind: false },
  "some are slow": { is: "passed on", behind: true },
  "the last leaves": { is: "empty" },
};

/** State, event, next state, actions. An event that is not named leaves a state as it is. */
const table: [string, string, State, string[]][] = [
  ["quiet", "ada changes", { is: "due", by: ada }, ["wait an interval"]],
  ["quiet", "bob changes", { is: "due", by: bob }, ["wait an interval"]],
  ["quiet", "the time has come", { is: "quiet" }, ["pass on"]],
  ["quiet", "some are slow", { is: "behind" }, ["wait for the slow"]],
  ["quiet", "the last leaves", { is: "over" }, []],
  ["due from ada", "bob changes", { is: "due", by: "several" }, []],
  ["due from ada", "the time has come", { is: "quiet" }, ["pass on from ada"]],
  ["due from ada", "some are slow", { is: "behind" }, ["wait for the slow"]],
  ["due from ada", "the last leaves", { is: "over" }, ["stop waiting"]],
  ["due from several", "the time has come", { is: "quiet" }, ["pass on from several"]],
  ["due from several", "some are slow", { is: "behind" }, ["wait for the slow"]],
  ["due from several", "the last leaves", { is: "over" }, ["stop waiting"]],
  ["behind", "ada changes", { is: "due", by: ada }, []],
  ["behind", "bob changes", { is: "due", by: bob }, []],
  ["behind", "the time has come", { is: "quiet" }, ["pass on"]],
  ["behind", "some are slow", { is: "behind" }, ["wait for the slow"]],
  ["behind", "the last leaves", { is: "over" }, ["stop waiting"]],
];

const nameOf = (by: RoomReader | "several" | undefined) =>
  by === undefined ? "" : ` from ${by === "several" ? by : (by as unknown as { name: string }).name}`;

describe("What is passed on to the readers of a room", () => {
  it.each(Object.keys(states).flatMap((state) => Object.keys(events).map((event) => [state, event] as const)))(
    "%s, %s",
    (from, event) => {
      const before = states[from] as State;
      const { state, actions } = step(before, events[event] as Event);
      const row = table.find(([one, other]) => one === from && other === event);
      const said = actions.map((action) =>
        typeof action === "string" ? action : `pass on${nameOf(action.passOnFrom)}`,
      );
      expect([state, said]).toEqual(row === undefined ? [before, []] : row.slice(2));
    },
  );

  it("is together what changed in an interval, not told to who alone changed it, and all of it to who was too slow", () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    try {
      const got: Record<string, string[]> = { ada: [], bob: [], eve: [] };
      let eveIsSlow = true;
      const reader = (name: string) =>
        ({
          head: Buffer.alloc(0),
          roomKey: "room",
          offer: (frames: readonly Buffer[]) => {
            if (name === "eve" && eveIsSlow) return false;
            // The rest of a frame is binary, and may look like letters, too.
            const sent = Buffer.concat(frames).toString("latin1");
            got[name]?.push(["all of it", "x y z", "u v"].find((keys) => sent.includes(keys)) ?? sent);
            return true;
          },
        }) as unknown as RoomReader;
      const readers = new Map(Object.keys(got).map((name) => [reader(name), name]));
      const [a, b] = [...readers.keys()] as [RoomReader, RoomReader];
      const broadcast = createBroadcast(50, readers, (keys) => [Buffer.from(keys ? [...keys].join(" ") : "all of it")]);
      broadcast.changed(["x", "y"], a);
      broadcast.changed(["x", "z"], a);
      vi.advanceTimersByTime(0);
      expect(got).toEqual({ ada: [], bob: ["x y z"], eve: [] });
      broadcast.changed(["u"], a);
      broadcast.changed(["v"], b);
      vi.advanceTimersByTime(249);
      expect(got.ada).toEqual([]);
      eveIsSlow = false;
      vi.advanceTimersByTime(1);
      expect(got).toEqual({ ada: ["u v"], bob: ["x y z", "u v"], eve: ["all of it"] });
      broadcast.changed(["w"], a);
      broadcast.end();
      vi.advanceTimersByTime(1_000);
      expect(got.bob).toEqual(["x y z", "u v"]);
    } finally {
      vi.useRealTimers();
    }
  });
});
