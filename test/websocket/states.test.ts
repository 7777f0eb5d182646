import { describe, expect, it } from "vitest";
import { ackStatus, closeCode, joinErrorCode, roomErrorCode } from "../../src/protocol/protocol.js";
import { type Channel, JoinRefused } from "../../src/rooms/room.js";
import * as connection from "../../src/websocket/connection-states.js";
import * as membership from "../../src/websocket/membership-states.js";

describe("a membership", () => {
  const channel: Channel = {
    permission: "write",
    version: Uint8Array.of(0),
    backfill: [],
    position: 0,
    submit: () => ackStatus.ok,
    close: () => undefined,
  };
  const admission = {
    identity: { userId: "ada", expiresAt: 1 },
    key: { spaceId: "s", appId: "a", tableName: "t", recordId: "r" },
    access: "write" as const,
  };
  const dismissal = { code: roomErrorCode.evicted, reason: "gone" };
  const status = ackStatus.invalidUpdate;
  const states: Record<string, membership.State> = {
    joining: { is: "joining" },
    "joining, dismissed": { is: "joining", dismissal },
    joined: { is: "joined", admission, channel },
    rejoining: { is: "rejoining", admission, channel, status },
    closed: { is: "closed" },
  };
  const refusal = new JoinRefused(joinErrorCode.authFailed, "no");
  const events: Record<string, membership.Event> = {
    opened: { is: "opened", admission, channel },
    refused: { is: "refused", refusal },
    dismissed: { is: "dismissed", dismissal },
    unaccepted: { is: "unaccepted", status, waitMs: 0 },
    "unaccepted, later": { is: "unaccepted", status, waitMs: 200 },
    left: { is: "left" },
    closed: { is: "closed" },
  };

  /** The state reached, and what is done; "(c)": with the channel. */
  const table: Record<string, Record<string, string>> = {
    joining: {
      opened: "joined: answer (c), replay",
      refused: "closed: refuse, let go, forget, replay",
      dismissed: "joining, dismissed:",
      unaccepted: "joining:",
      "unaccepted, later": "joining:",
      left: "joining:",
      closed: "closed: let go, drop frames",
    },
    "joining, dismissed": {
      opened: "closed: answer (c), dismiss, let go (c), forget, replay",
      refused: "closed: refuse, let go, forget, replay",
      dismissed: "joining, dismissed:",
      unaccepted: "joining, dismissed:",
      "unaccepted, later": "joining, dismissed:",
      left: "joining, dismissed:",
      closed: "closed: let go, drop frames",
    },
    joined: {
      opened: "joined:",
      refused: "joined:",
      dismissed: "closed: dismiss, let go (c), forget",
      unaccepted: "closed: dismiss, let go (c), forget",
      "unaccepted, later": "rejoining: dismiss later",
      left: "closed: let go (c), forget",
      closed: "closed: let go (c)",
    },
    rejoining: {
      opened: "rejoining:",
      refused: "rejoining:",
      dismissed: "closed: dismiss, let go (c), forget",
      unaccepted: "rejoining:",
      "unaccepted, later": "rejoining:",
      left: "closed: let go (c), forget",
      closed: "closed: let go (c)",
    },
    closed: {
      opened: "closed: close (c)",
      refused: "closed:",
      dismissed: "closed:",
      unaccepted: "closed:",
      "unaccepted, later": "closed:",
      left: "closed:",
      closed: "closed:",
    },
  };
  const nameOf = (state: membership.State) =>
    state.is === "joining" && state.dismissal ? "joining, dismissed" : state.is;

  it("goes from state to state, and does, as the table says", () => {
    const found = Object.fromEntries(
      Object.entries(states).map(([name, state]) => {
        const row = Object.entries(events).map(([event, value]) => {
          const { state: reached, actions } = membership.step(state, value);
          const done = actions.map((action) => `${action.do}${"channel" in action && action.channel ? " (c)" : ""}`);
          return [event, `${nameOf(reached)}: ${done.join(", ")}`.trim()];
        });
        return [name, Object.fromEntries(row)];
      }),
    );
    expect(found).toEqual(table);
  });

  it("lets go once, whatever comes in whatever order, and leaves no room open", () => {
    const walk = (state: membership.State, open: number, letGo: number, depth: number): void => {
      expect(letGo).toBe(state.is === "closed" ? 1 : 0);
      expect(open).toBe("channel" in state ? 1 : 0);
      if (depth === 0) return;
      for (const event of Object.values(events)) {
        // A room is opened once for each membership.
        if (event.is === "opened" && "channel" in state) continue;
        const { state: reached, actions } = membership.step(state, event);
        const closes = actions.filter((action) => (action.do === "let go" || action.do === "close") && action.channel);
        const goes = actions.filter((action) => action.do === "let go");
        walk(reached, open + (event.is === "opened" ? 1 : 0) - closes.length, letGo + goes.length, depth - 1);
      }
    };
    walk(membership.firstState, 0, 0, 4);
  });
});

describe("a connection", () => {
  const states: connection.State[] = [
    ...(["open", "draining", "closing"] as const).flatMap((is) =>
      (["stranger", "known"] as const).flatMap((who) =>
        (["on", "paused"] as const).flatMap((reading) =>
          (["none", "pinged"] as const).map((silence) => ({ is, who, reading, silence })),
        ),
      ),
    ),
    { is: "closed" },
  ];
  const tick = (late: boolean, stuck: boolean, silent: boolean) => ({ is: "tick", late, stuck, silent }) as const;
  const bye = { code: 1012, reason: "restarting" };
  const leaving = ["close", "leave rooms"];

  type Alive = Exclude<connection.State, { is: "closed" }>;
  /** For each event: what changes of a state that is not closed, and what is done. */
  const table: [connection.Event, (state: Alive) => [Partial<Alive>, string[]]][] = [
    [{ is: "heard" }, () => [{ silence: "none" }, []]],
    [{ is: "identified" }, ({ who }) => [{ who: "known" }, who === "stranger" ? ["no stranger"] : []]],
    [{ is: "loaded", full: true }, ({ reading }) => [{ reading: "paused" }, reading === "on" ? ["pause"] : []]],
    [{ is: "loaded", full: false }, ({ reading }) => [{ reading: "on" }, reading === "paused" ? ["resume"] : []]],
    [{ is: "drain" }, ({ is }) => (is === "open" ? [{ is: "draining" }, ["leave rooms"]] : [{}, []])],
    [{ is: "told to go", ...bye }, ({ is }) => [{ is: "closing" }, is === "closing" ? [] : leaving]],
    [tick(false, false, false), () => [{}, []]],
    [tick(true, false, false), ({ is }) => [{ is: "closing" }, is === "closing" ? [] : leaving]],
    [tick(true, true, true), ({ is }) => [{ is: "closing" }, is === "closing" ? ["terminate"] : leaving]],
    [tick(false, true, false), () => [{}, ["terminate"]]],
    [tick(false, true, true), () => [{}, ["terminate"]]],
    [tick(false, false, true), ({ silence }) => [{ silence: "pinged" }, [silence === "none" ? "ping" : "terminate"]]],
  ];

  it("goes from state to state, and does, as the table says", () => {
    for (const [event, change] of table) {
      for (const state of states) {
        const { state: reached, actions } = connection.step(state, event);
        const [changed, done] = state.is === "closed" ? [{}, []] : change(state);
        expect([reached, actions.map((action) => action.do)], `${JSON.stringify(state)} ${event.is}`).toEqual([
          { ...state, ...changed },
          done,
        ]);
      }
    }
  });

  it("gives back what it holds once, and counts as a stranger until it is known or gone", () => {
    for (const state of states) {
      const { state: reached, actions } = connection.step(state, { is: "gone" });
      expect(reached).toEqual({ is: "closed" });
      const strange = state.is !== "closed" && state.who === "stranger" ? ["no stranger"] : [];
      const done = state.is === "closed" ? [] : ["leave rooms", ...strange, "let go"];
      expect(actions.map((action) => action.do)).toEqual(done);
    }
  });

  it("says to whoever shows no token in time, or is told to go, why", () => {
    const said = (event: connection.Event) => connection.step(connection.firstState, event).actions[0];
    const late = { do: "close", code: closeCode.tryAgainLater, reason: "no valid token in time" };
    expect(said(tick(true, false, false))).toEqual(late);
    expect(said({ is: "told to go", ...bye })).toEqual({ do: "close", ...bye });
  });
});
