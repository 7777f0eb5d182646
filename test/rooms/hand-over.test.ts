import { describe, expect, it } from "vitest";
import { createHandOver, type Event, type State, transitions } from "../../src/rooms/hand-over.js";

const events: Event[] = ["backfill sent", "too much", "closed"];
const states = Object.keys(transitions) as State[];

describe("the hand-over from a backfill to what is delivered", () => {
  it("goes from state to state as the table says, whatever comes", () => {
    const table = states.map((state) => [
      state,
      ...events.map((event) => [transitions[state][event].state, ...transitions[state][event].actions].join(" + ")),
    ]);
    expect(table).toEqual([
      ["holding", "live + send held", "gave up + drop held + overflow", "closed + drop held"],
      ["gave up", "draining + wait until drained", "gave up", "closed"],
      ["live", "live", "draining + wait until drained + overflow", "closed"],
      ["draining", "draining", "draining", "closed"],
      ["closed", "closed", "closed", "closed"],
    ]);
  });

  function outlet() {
    const sent: string[] = [];
    const out = {
      sent,
      full: false,
      held: 0,
      overflows: 0,
      drained: [] as (() => void)[],
      send: (frame: Buffer) => void sent.push(frame.toString()),
      async sendPaced(frames: Iterable<Buffer>) {
        for (const frame of frames) sent.push(frame.toString());
      },
      isFull: () => out.full,
      onDrained: (callback: () => void) => void out.drained.push(callback),
    };
    const caughtUp = () => void sent.push("join again");
    const overflow = () => {
      out.overflows += 1;
    };
    const hold = (bytes: number) => {
      out.held += bytes;
    };
    return Object.assign(out, { handOver: createHandOver(out, 10, { overflow, caughtUp, hold }) });
  }
  const frames = (...texts: string[]) => texts.map((text) => Buffer.from(text));

  it("gives each entry once: what the backfill has not, behind it, in its order", async () => {
    const out = outlet();
    const { handOver, sent } = out;
    handOver.deliver(frames("3"), 3);
    handOver.deliver(frames("4", "5"), 5);
    expect(handOver.offer(frames("skipped"))).toBe(false);
    expect(sent).toEqual([]);
    await handOver.begin(frames("backfill"), 3);
    handOver.deliver(frames("3 again"), 3);
    handOver.deliver(frames("6"), 6);
    expect(handOver.offer(frames("offered"))).toBe(true);
    expect(sent).toEqual(["backfill", "4", "5", "6", "offered"]);
    expect(out.held).toBe(0);
  });

  it("keeps no more than it may, and has the reader join again behind the backfill", async () => {
    const out = outlet();
    for (const seq of [1, 2, 3]) out.handOver.deliver(frames("four"), seq);
    expect([out.overflows, out.held]).toEqual([1, 0]);
    out.handOver.deliver(frames("more"), 4);
    await out.handOver.begin(frames("backfill"), 0);
    out.handOver.deliver(frames("more"), 5);
    expect(out.sent).toEqual(["backfill"]);
    for (const drained of out.drained) drained();
    expect(out.sent).toEqual(["backfill", "join again"]);
  });

  it("sends nothing more to whoever does not read, until they join again", async () => {
    const out = outlet();
    await out.handOver.begin([], 0);
    out.full = true;
    out.handOver.deliver(frames("1"), 1);
    expect(out.handOver.offer(frames("skipped"))).toBe(false);
    out.full = false;
    out.handOver.deliver(frames("2"), 2);
    expect([out.sent, out.overflows, out.drained.length]).toEqual([[], 1, 1]);
    out.handOver.close();
    out.handOver.deliver(frames("3"), 3);
    expect(out.handOver.offer(frames("skipped"))).toBe(false);
    expect(out.sent).toEqual([]);
  });
});
