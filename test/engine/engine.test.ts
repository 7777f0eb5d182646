import { afterEach, describe, expect, test, vi } from "vitest";
import { createEngine, type Engine, EngineBusy, EngineLost, type EngineOptions } from "../../src/engine/engine.js";
import { until } from "../support/until.js";

interface TestApi {
  remember(text: string): number;
  remembered(): string[];
  given(): unknown;
  environment(): string[];
  add(a: number, b: number): number;
  refuse(code: string): never;
  throwString(): never;
  bufferBytes(views: Uint8Array[]): number[];
  make(size: number): { bytes: Uint8Array };
  unclonable(): unknown;
  busy(ms: number): number;
  hang(...given: unknown[]): never;
  trap(): never;
  overflow(): never;
  exit(): never;
  throwLater(): string;
  rejectLater(): string;
  fillHeap(): never;
  pretend(held: number, needed?: number): void;
}

const engines: Engine<TestApi>[] = [];

function open(options: Partial<EngineOptions> = {}): Engine<TestApi> {
  const engine = createEngine<TestApi>({ thread: new URL("./thread.mjs", import.meta.url), threads: 1, ...options });
  engines.push(engine);
  return engine;
}

/** Keys that fall to different threads. */
function keysOf(engine: Engine<TestApi>, thread: number, count: number): string[] {
  return Array.from({ length: 1_000 }, (_, index) => `key ${index}`)
    .filter((key) => engine.threadOf(key) === thread)
    .slice(0, count);
}

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
});

describe("calls", () => {
  test("of one key do not keep another's waiting for all of them", async () => {
    const engine = open();
    await engine.call("long", "busy", [60]);
    const order: string[] = [];
    const ask = (key: string, ms: number) => engine.call(key, "busy", [ms]).then(() => order.push(key));
    const calls = Array.from({ length: 20 }, () => ask("long", 60));
    await calls[0];
    calls.push(ask("short", 0));
    await Promise.all(calls);
    expect(order.indexOf("short")).toBeLessThanOrEqual(3);
  });

  test("with one key run in one thread, in order, whatever their number", async () => {
    const engine = open({ threads: 3 });
    const keys = ["a", "b", "c", "d", "e", "f"];
    const calls = Array.from({ length: 600 }, (_, index) => {
      const key = keys[index % keys.length] ?? "a";
      return engine.call(key, "remember", [`${key} ${index}`]);
    });
    await Promise.all(calls);
    for (const key of keys) {
      const mine = (await engine.call(key, "remembered", [])).filter((text) => text.startsWith(`${key} `));
      expect(mine).toHaveLength(100);
      const numbers = mine.map((text) => Number(text.slice(2)));
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    }
    expect(new Set(keys.map(engine.threadOf)).size).toBeGreaterThan(1);
  });

  test("bring back results and errors of perch as what they were", async () => {
    const engine = open({ data: { limit: 5 } });
    expect(await engine.call("a", "add", [1, 2])).toBe(3);
    expect(await engine.call("a", "given", [])).toEqual({ limit: 5 });
    await expect(engine.call("a", "refuse", ["PE413"])).rejects.toMatchObject({
      name: "PerchError",
      code: "PE413",
      word: "too_large",
      message: "too_large: refused by the thread",
      detail: { why: "test" },
    });
    await expect(engine.call("a", "throwString", [])).rejects.toThrow("a plain string, as WASM bindings throw");
    await expect(engine.call("a", "unclonable", [])).rejects.toThrow("could not be cloned");
    await expect(engine.call("a", "add", [(() => 1) as unknown as number, 2])).rejects.toThrow("could not be cloned");
    expect(await engine.call("a", "add", [2, 2])).toBe(4);
    expect(engine.stats()).toMatchObject({ replaced: 0, waiting: 0 });
  });

  test("send a view of a large buffer without the buffer, and leave the caller's bytes alone", async () => {
    const engine = open();
    const chunk = new Uint8Array(65_536).fill(7);
    const views = [chunk.subarray(10, 100), new Uint8Array(50), Buffer.from("pooled")];
    expect(await engine.call("a", "bufferBytes", [views])).toEqual([90, 50, 6]);
    expect(chunk[10]).toBe(7);
    const moved = new Uint8Array(1_000);
    expect(await engine.call("a", "bufferBytes", [[moved]], { transfer: [moved.buffer] })).toEqual([1_000]);
    expect(moved.byteLength).toBe(0);
    expect((await engine.call("a", "make", [5_000_000])).bytes.byteLength).toBe(5_000_000);
  });

  test("made together travel together, and are answered each for itself", async () => {
    const engine = open();
    const results = await Promise.allSettled([
      engine.call("a", "add", [1, 1]),
      engine.call("a", "add", [(() => 1) as unknown as number, 2]),
      engine.call("b", "unclonable", []),
      engine.call("a", "make", [1_000]),
      engine.call("b", "refuse", ["PE413"]),
      engine.call("a", "busy", [5]),
      engine.call("b", "add", [2, 2]),
    ]);
    expect(results.map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "rejected",
      "fulfilled",
      "rejected",
      "fulfilled",
      "fulfilled",
    ]);
    expect(results.at(-1)).toMatchObject({ value: 4 });
    expect(engine.stats()).toMatchObject({ replaced: 0, waiting: 0 });
  });

  test("see nothing of the process's environment", async () => {
    expect(await open().call("a", "environment", [])).toEqual([]);
  });
});

describe("a thread", () => {
  test.each(["trap", "overflow", "fillHeap", "exit"] as const)(
    "lost to %s is replaced: the call at fault is told, those behind it are lost, the process lives",
    async (method) => {
      const engine = open({ maxHeapMb: 32 });
      const lost = vi.fn();
      engine.onReplaced(lost);
      await engine.call("a", "remember", ["x"]);
      const culprit = engine.call("bad", method, []);
      const behind = [engine.call("a", "add", [1, 1]), engine.call("b", "add", [1, 1])];
      await expect(culprit).rejects.toMatchObject({ code: "PE422", detail: { reason: "trapped", method } });
      for (const call of behind) await expect(call).rejects.toBeInstanceOf(EngineLost);
      expect(await engine.call("a", "remembered", [])).toEqual([]);
      expect(lost).toHaveBeenCalledTimes(1);
      expect(lost.mock.calls[0]?.[0]).toMatchObject({ thread: 0, shardKey: "bad" });
    },
  );

  test("that hangs is replaced within the call's time limit, counted from when the call starts", async () => {
    const engine = open({ timeoutMs: 1_200 });
    await engine.call("a", "add", [1, 1]);
    // Each waits for those before it, together longer than the limit, and has most of its own time left.
    const patient = await Promise.all(Array.from({ length: 5 }, () => engine.call("a", "busy", [300])));
    expect(patient).toEqual([300, 300, 300, 300, 300]);
    const hung = engine.call("bad", "hang", []);
    const behind = engine.call("a", "add", [1, 1]);
    await expect(hung).rejects.toMatchObject({
      code: "PE422",
      message: expect.stringContaining("1200 ms"),
      detail: { reason: "timed out", method: "hang" },
    });
    await expect(behind).rejects.toBeInstanceOf(EngineLost);
    expect(await engine.call("a", "add", [1, 1])).toBe(2);
    await expect(engine.call("a", "busy", [300], { timeoutMs: 50 })).rejects.toMatchObject({
      detail: { reason: "timed out" },
    });
  });

  test("that hangs is replaced within what its method may take for what it was given", async () => {
    const engine = open({ timeoutMs: 40, methodTimeoutMs: { hang: (usualMs, [size]) => usualMs * (size as number) } });
    await expect(engine.call("a", "hang", [3])).rejects.toMatchObject({
      message: expect.stringContaining("hang took longer than 120 ms"),
    });
    await expect(engine.call("a", "hang", [4])).rejects.toMatchObject({
      message: expect.stringContaining("hang took longer than 160 ms"),
    });
  });

  test("that hangs in a call sent along with others blames that call, by its own time limit", async () => {
    const engine = open({ timeoutMs: 60_000 });
    await engine.call("a", "add", [1, 1]);
    const before = engine.call("a", "add", [1, 1]).catch((error: unknown) => error);
    const hung = engine.call("bad", "hang", [], { timeoutMs: 200 });
    const behind = engine.call("a", "add", [1, 1]);
    await expect(hung).rejects.toMatchObject({ code: "PE422", detail: { reason: "timed out", method: "hang" } });
    await expect(behind).rejects.toBeInstanceOf(EngineLost);
    // Its answer was kept back to be sent with others, and then the thread was gone.
    const outcome = await before;
    if (outcome !== 2) expect(outcome).toBeInstanceOf(EngineLost);
  });

  test("that is slow to answer only because this process was busy is not blamed", async () => {
    const engine = open({ timeoutMs: 200 });
    await engine.call("a", "add", [1, 1]);
    const call = engine.call("a", "busy", [20]);
    const end = performance.now() + 600;
    while (performance.now() < end);
    expect(await call).toBe(20);
    expect(engine.stats().replaced).toBe(0);
  });

  test("with an uncaught error is replaced without the process noticing, its answers all arrive, and no call is blamed", async () => {
    const uncaught = vi.fn();
    process.on("uncaughtException", uncaught);
    process.on("unhandledRejection", uncaught);
    const engine = open();
    const lost = new Promise((resolve) => engine.onReplaced(resolve));
    expect(await engine.call("a", "throwLater", [])).toBe("soon");
    expect(await lost).toMatchObject({ reason: "died", shardKey: undefined });
    const again = new Promise((resolve) => engine.onReplaced(resolve));
    expect(await engine.call("a", "rejectLater", [])).toBe("soon");
    expect(await again).toMatchObject({ reason: "died", shardKey: undefined });
    // The error comes while another call runs, or waits to, or after it: that one is served or lost, never at fault.
    const third = new Promise((resolve) => engine.onReplaced(resolve));
    const answer = engine.call("a", "throwLater", []);
    const other = engine.call("a", "busy", [20]).catch((error: unknown) => error);
    expect(await answer).toBe("soon");
    const outcome = await other;
    if (outcome !== 20) expect(outcome).toBeInstanceOf(EngineLost);
    expect(await third).toMatchObject({ reason: "died", shardKey: undefined });
    expect(await engine.call("a", "add", [1, 1])).toBe(2);
    process.off("uncaughtException", uncaught);
    process.off("unhandledRejection", uncaught);
    expect(uncaught).not.toHaveBeenCalled();
  });

  test("whose memory has grown over the limit is replaced once it is idle, not before", async () => {
    const engine = open({ maxMemoryBytes: 1_000 });
    const lost = vi.fn();
    engine.onReplaced(lost);
    const calls = [
      engine.call("a", "remember", ["x"]),
      engine.call("a", "pretend", [5_000]),
      engine.call("a", "remembered", []),
      engine.call("a", "remember", ["y"]),
    ];
    expect(await Promise.all(calls)).toEqual([1, undefined, ["x"], 2]);
    expect(lost.mock.calls).toEqual([[{ thread: 0, reason: "outgrown", shardKey: undefined }]]);
    expect(await engine.call("a", "remembered", [])).toEqual([]);
    expect(engine.stats().memoryBytes).toBe(0);
  });

  test("whose memory has grown is replaced sooner when nothing is asked of it any more", async () => {
    const engine = open({ maxIdleMemoryBytes: 1_000, idleMs: 100 });
    const lost = vi.fn();
    engine.onReplaced(lost);
    await engine.call("a", "remember", ["x"]);
    await engine.call("a", "pretend", [5_000]);
    expect(await engine.call("a", "remembered", [])).toEqual(["x"]);
    await until(() => lost.mock.calls.length > 0, "the thread to be replaced");
    expect(lost.mock.calls).toEqual([[{ thread: 0, reason: "outgrown", shardKey: undefined }]]);
    expect(await engine.call("a", "remembered", [])).toEqual([]);
  });

  test("that holds much more than it needs is replaced, also while it always has something to do", async () => {
    const engine = open({ maxSpareBytes: 1_000, idleMs: 100 });
    const lost = vi.fn();
    engine.onReplaced(lost);
    await engine.call("a", "remember", ["x"]);
    await engine.call("a", "pretend", [5_000, 2_100]);
    for (let n = 0; n < 3; n++) await engine.call("a", "busy", [80]);
    expect(await engine.call("a", "remembered", [])).toEqual(["x"]);
    await engine.call("a", "pretend", [5_000, 1_900]);
    for (let n = 0; n < 3; n++) await engine.call("a", "busy", [80]);
    expect(lost.mock.calls).toEqual([[{ thread: 0, reason: "outgrown", shardKey: undefined }]]);
    expect(await engine.call("a", "remembered", [])).toEqual([]);
  });

  test("that cannot start fails its calls with the reason, and so it does the next time", async () => {
    const engine = open({ thread: new URL("./nothing-here.mjs", import.meta.url) });
    for (let time = 0; time < 2; time++) {
      const error = await engine.call("a", "add", [1, 1]).catch((caught: unknown) => caught);
      expect(error).not.toBeInstanceOf(EngineLost);
      expect(String(error)).toMatch(/did not start.*nothing-here/);
    }
  });
});

describe("the quarantine", () => {
  test("has no thread while nothing is kept in it", async () => {
    const engine = open({ idleMs: 50 });
    await engine.call("a", "pretend", [1_000, 0], { apart: true });
    expect(engine.stats().memoryBytes).toBe(1_000);
    await until(() => engine.stats().memoryBytes === 0, "the thread to be let go of");
    await engine.call("a", "pretend", [1_000, 1], { apart: true });
    for (let n = 0; n < 2; n++) await engine.call("a", "busy", [80], { apart: true });
    expect(engine.stats().memoryBytes).toBe(1_000);
  });

  test("keeps a key that trapped away from the threads of the others, until it has behaved for a while", async () => {
    const engine = open({ threads: 2, quarantineMs: 2_000 });
    const [bad = "", ...good] = keysOf(engine, 0, 3);
    await expect(engine.call(bad, "trap", [])).rejects.toMatchObject({ code: "PE422" });
    expect(engine.stats()).toMatchObject({ quarantined: 1 });
    for (const key of good) await engine.call(key, "remember", [key]);
    for (let time = 0; time < 5; time++)
      await expect(engine.call(bad, "trap", [])).rejects.toMatchObject({ code: "PE422" });
    for (const key of good) expect(await engine.call(key, "remembered", [])).toEqual(good);
    await engine.call(bad, "remember", ["stale"]);
    await until(() => engine.stats().quarantined === 0);
    expect(engine.threadOf(bad)).toBe(0);
    await expect(engine.call(bad, "trap", [])).rejects.toMatchObject({ code: "PE422" });
    // What the quarantine knew of the key the first time is gone.
    expect(await engine.call(bad, "remembered", [])).toEqual([]);
  });
});

describe("bounds and the end", () => {
  test("more calls than may wait are refused without harm to the others", async () => {
    const engine = open({ maxQueue: 50 });
    const results = await Promise.allSettled(Array.from({ length: 80 }, () => engine.call("a", "add", [1, 1])));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(50);
    const refused = results.filter((result) => result.status === "rejected");
    for (const { reason } of refused) expect(reason).toBeInstanceOf(EngineBusy);
  });

  test("closing finishes what was asked for and takes nothing new", async () => {
    const engine = open({ threads: 2 });
    const calls = Array.from({ length: 40 }, (_, index) => engine.call(`${index % 7}`, "add", [index, 1]));
    const closed = engine.close();
    await expect(engine.call("a", "add", [1, 1])).rejects.toBeInstanceOf(EngineBusy);
    expect(await Promise.all(calls)).toEqual(calls.map((_, index) => index + 1));
    await closed;
    await engine.close();
  });

  test("closing does not wait for a hung thread longer than its time limit", async () => {
    const engine = open({ timeoutMs: 200 });
    const hung = engine.call("a", "hang", []).catch((error: unknown) => error);
    await engine.close();
    expect(await hung).toMatchObject({ code: "PE422" });
  });
});
