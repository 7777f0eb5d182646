import fc from "fast-check";
import { expect, it } from "vitest";
import { type Poll, type Polling, polls } from "../../src/rooms/presence-exchange.js";

it("polls for what other nodes put are made one at a time, and whatever is asked for meanwhile follows", () => {
  const events = fc.array(fc.constantFrom("changes" as const, "greeting" as const, "polled" as const), {
    maxLength: 30,
  });
  fc.assert(
    fc.property(events, fc.boolean(), (asked, closes) => {
      let state: Polling = "idle";
      let running: Poll | undefined;
      let wanted: Poll | undefined;
      const tell = (event: Poll | "polled" | "close") => {
        const { state: next, actions } = polls[state][event];
        state = next;
        return actions;
      };
      for (const event of asked) {
        if (event === "polled" && running === undefined) continue;
        if (event === "polled") running = undefined;
        else if (wanted !== "greeting") wanted = event;
        const begun = tell(event);
        if (running !== undefined) expect(begun).toEqual([]);
        else {
          expect(begun).toEqual(wanted === undefined ? [] : [wanted]);
          running = wanted;
          wanted = undefined;
        }
      }
      if (!closes) return;
      expect(tell("close")).toEqual([]);
      for (const event of ["changes", "greeting", "polled"] as const) expect(tell(event)).toEqual([]);
    }),
  );
});
