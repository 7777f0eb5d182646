import { expect, it, vi } from "vitest";
import { createPerchClient } from "../../src/client/index.js";
import { cleanup } from "../gateway/support.js";
import { pause } from "../support/until.js";

const busy = (seconds: string) =>
  Response.json(
    { error: { code: "PE503", word: "unavailable", message: "unavailable: later", detail: null } },
    { status: 503, headers: { "retry-after": seconds } },
  );

it("a long Retry-After does not make it ask without a pause", async () => {
  let n = 0;
  const client = createPerchClient({
    url: "http://perch.test",
    token: "ada",
    fetch: async () => {
      n++;
      return busy("2592000");
    },
  });
  const stop = new AbortController();
  const done = (async () => {
    for await (const _ of client.follow({ appId: "todo", signal: stop.signal }));
  })();
  await pause(1_000);
  stop.abort();
  await done;
  expect(n).toBeLessThan(10);
});

it("a page of somebody else's does not silence follow for a day", async () => {
  vi.useFakeTimers();
  cleanup(() => void vi.useRealTimers());
  let n = 0;
  const client = createPerchClient({
    url: "http://perch.test",
    token: "ada",
    fetch: async () => {
      n++;
      return n === 1
        ? new Response("<html>maintenance", { status: 503, headers: { "retry-after": "86400" } })
        : Promise.reject(new TypeError("x"));
    },
  });
  const stop = new AbortController();
  const done = (async () => {
    for await (const _ of client.follow({ appId: "todo", signal: stop.signal }));
  })();
  await vi.advanceTimersByTimeAsync(3_600_000);
  stop.abort();
  await vi.advanceTimersByTimeAsync(10);
  await done;
  expect(n).toBeGreaterThan(1);
});

it("a retry of the stream's that is too long does not make it ask without a pause", async () => {
  let n = 0;
  const client = createPerchClient({
    url: "http://perch.test",
    token: "ada",
    fetch: async () => {
      n++;
      return new Response("retry: 9999999999\n\n", { headers: { "content-type": "text/event-stream" } });
    },
  });
  const stop = new AbortController();
  const done = (async () => {
    for await (const _ of client.follow({ appId: "todo", signal: stop.signal }));
  })();
  await pause(1_000);
  stop.abort();
  await done;
  expect(n).toBeLessThan(10);
});

it("a request gives up after its patience, also when the clock was set back", async () => {
  const client = createPerchClient({
    url: "http://perch.test",
    token: "ada",
    patienceMs: 1_000,
    fetch: async () => {
      throw new TypeError("x");
    },
  });
  const asked = client.push({ appId: "todo", changes: [] }).then(
    () => "done",
    () => "failed",
  );
  await pause(100);
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 3_600_000 });
  cleanup(() => void vi.useRealTimers());
  expect(await Promise.race([asked, pause(6_000).then(() => "waits")])).toBe("failed");
});

it("follow leaves no listener on a signal when it ends by an error", async () => {
  const client = createPerchClient({
    url: "http://perch.test",
    token: "ada",
    fetch: async () =>
      Response.json(
        { error: { code: "PE403", word: "forbidden", message: "forbidden", detail: null } },
        { status: 403 },
      ),
  });
  const { signal } = new AbortController();
  let listeners = 0;
  const add = signal.addEventListener.bind(signal),
    remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...a: Parameters<typeof add>) => {
    listeners++;
    add(...a);
  };
  signal.removeEventListener = (...a: Parameters<typeof remove>) => {
    listeners--;
    remove(...a);
  };
  for (let n = 0; n < 5; n++)
    await (async () => {
      for await (const _ of client.follow({ appId: "todo", signal }));
    })().catch(() => undefined);
  expect(listeners).toBe(0);
});

it("a refresh that failed is still a refresh the next time", async () => {
  const asked: boolean[] = [];
  let tries = 0;
  const client = createPerchClient({
    url: "http://perch.test",
    patienceMs: 3_000,
    token: ({ refused }) => {
      asked.push(refused);
      if (refused && tries++ === 0) throw new Error("no network");
      return refused ? "new" : "old";
    },
    fetch: async (_i, o) =>
      (o?.headers as Record<string, string> | undefined)?.authorization === "Bearer new"
        ? Response.json({ results: [] })
        : Response.json(
            { error: { code: "PE401", word: "unauthenticated", message: "unauthenticated", detail: null } },
            { status: 401 },
          ),
  });
  await client.push({ appId: "todo", changes: [] });
  expect(asked).toEqual([false, true, false, true]);
});

it("a fetch that does not heed its signal does not stop all pushes", async () => {
  let n = 0;
  const client = createPerchClient({
    url: "http://perch.test",
    token: "ada",
    timeoutMs: 300,
    patienceMs: 1_000,
    fetch: () => {
      n++;
      return n === 1 ? new Promise(() => undefined) : Promise.resolve(Response.json({ results: [] }));
    },
  });
  void client.push({ appId: "todo", changes: [] }).catch(() => undefined);
  const second = client.push({ appId: "todo", changes: [] }).then(
    () => "done",
    () => "failed",
  );
  expect(await Promise.race([second, pause(5_000).then(() => "waits")])).not.toBe("waits");
});
