import { expect, it } from "vitest";
import { cursorOf, eventIdOf } from "../../src/client/cursor.js";
import type { PerchError } from "../../src/client/errors.js";
import {
  createPerchClient,
  createReplica,
  type FollowEvent,
  type Following,
  type FollowOptions,
  isLive,
  type PerchClient,
} from "../../src/client/index.js";
import { cleanup, until } from "../gateway/support.js";
import { pause } from "../support/until.js";
import { as, badNetwork, secret, testServer, tokenOf } from "./support.js";

const insert = (id: string, more: object = {}) => ({
  op: "insert" as const,
  table: "tasks",
  id,
  data: { id },
  ...more,
});
const pushOne = (client: PerchClient, id: string, more: object = {}) =>
  client.push({ appId: "todo", changes: [insert(id, more)] });

/** Follows in the background until the test is over, and holds what it was given. */
function reading(client: PerchClient, options: Partial<FollowOptions> = {}) {
  const events: FollowEvent[] = [];
  const errors: PerchError[] = [];
  const seen: string[] = [];
  const replica = createReplica();
  let opened = 0;
  const following: Following = client.follow({
    appId: "todo",
    onError: (error) => errors.push(error),
    onOpen: () => {
      opened += 1;
    },
    ...options,
  });
  const ended = (async () => {
    for await (const event of following) {
      events.push(event);
      replica.apply(event);
      if (event.type === "changes") seen.push(...event.changes.map(({ id }) => id));
    }
  })();
  ended.catch(() => undefined);
  cleanup(() => following.return?.());
  return {
    events,
    errors,
    seen,
    ended,
    stop: () => following.return?.(),
    opened: () => opened,
    live: () =>
      [...replica.records.values()]
        .filter(isLive)
        .map(({ id }) => id)
        .sort(),
  };
}

it("gives what is there, then what is committed, each change once and in order", async () => {
  const server = await testServer();
  const client = as("ada", server);
  for (const id of ["a", "b", "c"]) await pushOne(client, id);
  const reader = reading(client, { pageSize: 2, tables: ["tasks"] });
  await until(() => reader.seen.length === 3);
  expect(reader.events).toMatchObject([{ hasMore: true }, { hasMore: false }]);
  await pushOne(client, "d");
  await until(() => reader.seen.length === 4);
  expect(reader.seen).toEqual(["a", "b", "c", "d"]);
  await reader.stop();
  await reader.ended;
});

it("goes on without a gap or a repeat wherever its connection breaks", async () => {
  const server = await testServer();
  const network = await badNetwork(server);
  const [reader, writer] = [reading(as("ada", network)), as("ada", server)];
  for (let n = 0; n < 30; n++) {
    await pushOne(writer, `t${n}`);
    if (n % 3 === 0) network.cut();
    if (n === 10) network.hold("answers");
    if (n === 15) {
      network.cut();
      network.release();
    }
    if (n % 3 === 2 && (n < 10 || n > 15)) await until(() => reader.seen.length === n + 1);
  }
  await until(() => reader.seen.length >= 30);
  expect(reader.seen).toEqual(Array.from({ length: 30 }, (_, n) => `t${n}`));
  expect(reader.opened()).toBeGreaterThan(3);
});

it("takes a stream that went silent for dead", async () => {
  const server = await testServer();
  const network = await badNetwork(server);
  const reader = reading(as("ada", network, { idleMs: 300 }));
  await until(() => reader.events.length === 1);
  network.hold();
  await until(() => reader.errors.length > 0);
  network.cut();
  network.release();
  await pushOne(as("ada", server), "after");
  await until(() => reader.seen.length === 1);
});

it("waits for a reader that takes its time, and comes to what happened meanwhile", async () => {
  const server = await testServer({ PERCH_SLOW_READER_MS: "100" });
  const client = as("ada", server, { idleMs: 100 });
  await pushOne(client, "a");
  const following = client.follow({ appId: "todo" });
  cleanup(() => following.return?.());
  expect((await following.next()).value).toMatchObject({ changes: [{ id: "a" }] });
  // Longer than server and client have patience for.
  await pause(300);
  await pushOne(client, "b");
  expect((await following.next()).value).toMatchObject({ changes: [{ id: "b" }] });
});

it("goes on from a cursor that was kept, with what it did not yet say was taken", async () => {
  const server = await testServer();
  const client = as("ada", server);
  for (const id of ["a", "b", "c"]) await pushOne(client, id);
  const first = client.follow({ appId: "todo", pageSize: 1 });
  const taken = await first.next();
  await first.next();
  await first.return?.();
  const cursor = taken.value?.type === "changes" ? taken.value.cursor : undefined;
  const again = reading(client, { cursor });
  await until(() => again.seen.length === 2);
  expect(again.seen).toEqual(["b", "c"]);
});

it("keeps its cursor from growing old while others write, also one of many spaces", async () => {
  const server = await testServer({ PERCH_STREAM_HEARTBEAT_MS: "50" });
  const client = as("ada", server);
  for (let n = 0; n < 12; n++) await client.spaces.create(`a-space-with-a-long-name-${n}`);
  const reader = reading(client, { tables: ["tasks"] });
  await until(() => reader.events.length === 1);
  await client.push({ appId: "todo", changes: [{ ...insert("x"), table: "other" }] });
  const moved = await until(() => reader.events.find((event, nth) => nth > 0 && event.type === "changes"));
  expect(moved).toMatchObject({ changes: [], cursor: { spaces: { "~ada": [1, expect.anything()] } } });
});

it("goes on from a cursor of more spaces than a header holds as they are", async () => {
  const server = await testServer();
  const client = as("ada", server);
  const names = Array.from({ length: 300 }, (_, n) => `a-space-that-has-a-name-${n}`);
  await server.db.transaction(async (tx) => {
    await tx.query("select perch.set_context(user_id => 'ada')");
    await tx.query("select count(perch.create_space(space_id => s)) from unnest($1::text[]) s", [names]);
  });
  await pushOne(client, "a", { space_id: names[0] });
  const { cursor } = await client.pull({ appId: "todo" });
  expect(JSON.stringify(cursor).length).toBeGreaterThan(8_000);
  expect((await eventIdOf(cursor)).length).toBeLessThan(8_000);
  expect(await cursorOf(await eventIdOf(cursor))).toEqual(cursor);
  await pushOne(client, "b", { space_id: names[299] });
  const reader = reading(client, { cursor });
  await until(() => reader.seen.length > 0);
  expect(reader.seen).toEqual(["b"]);
});

it("gets a new token when the one it has expires under it", async () => {
  const server = await testServer({ PERCH_JWT_SECRET: secret, PERCH_JWT_CLOCK_SKEW_SECONDS: "0" });
  let tokens = 0;
  const client = as("ada", server, {
    token: async () => {
      tokens += 1;
      return tokenOf("ada", tokens === 1 ? 2 : 60);
    },
  });
  const reader = reading(client);
  await until(() => tokens > 1);
  await pushOne(client, "a");
  await until(() => reader.seen.length === 1);
  expect(reader.errors).toEqual([]);
  const fixed = reading(as("ada", server, { token: "stale" }));
  await expect(fixed.ended).rejects.toMatchObject({ code: "PE401" });
});

it("takes snapshots where the log does not go on, and then follows again", async () => {
  const server = await testServer();
  const client = as("ada", server);
  await client.spaces.create("team");
  await pushOne(client, "mine");
  for (const id of ["a", "b", "c"]) await pushOne(client, id, { space_id: "team" });
  const reader = reading(client, { pageSize: 2 });
  await until(() => reader.live().length === 4);
  // Back to an earlier state, as by a restore.
  await server.db.query("delete from perch.stored_records where record_id = 'b'");
  await server.db.query("select perch.new_epoch()");
  await pushOne(client, "d", { space_id: "team" });
  await until(() => reader.live().join() === "a,c,d,mine");
  expect(reader.events.some(({ type }) => type === "resync")).toBe(true);
  await pushOne(client, "e", { space_id: "team" });
  await until(() => reader.live().includes("e"));
});

it("does not hammer a server that refuses the stream, or what it goes on from, again and again", async () => {
  for (const error of [
    { code: "PE401", word: "unauthenticated", message: "unauthenticated: no", detail: null },
    {
      code: "PE410",
      word: "resync_required",
      message: "resync_required: no",
      detail: { spaces: [{ space_id: "~ada" }] },
    },
  ]) {
    const asked: string[] = [];
    const stop = new AbortController();
    const client = createPerchClient({
      url: "http://perch.test",
      token: () => "ada",
      async fetch(input) {
        asked.push(String(input));
        if (!String(input).includes("/v1/changes")) return Response.json({ records: [], next: null, cursor: {} });
        const data = `event: changes\ndata: ${JSON.stringify({ changes: [], cursor: {}, has_more: false, revoked_space_ids: [] })}\n\n`;
        return new Response(`${data}event: problem\ndata: ${JSON.stringify({ error })}\n\n`, {
          headers: { "content-type": "text/event-stream" },
        });
      },
    });
    const reader = reading(client, { signal: stop.signal });
    await pause(1_500);
    stop.abort();
    await reader.ended;
    expect(asked.length).toBeGreaterThan(2);
    expect(asked.length).toBeLessThan(16);
  }
});

it("ends at once by its signal, also while it waits", async () => {
  const server = await testServer();
  const stop = new AbortController();
  const reader = reading(as("ada", server), { signal: stop.signal });
  await until(() => reader.events.length === 1);
  stop.abort();
  await reader.ended;
  const offline = reading(as("ada", { url: "http://127.0.0.1:1" }));
  await until(() => offline.errors.length > 0);
  await offline.stop();
  await offline.ended;
});
