import { createCollection } from "@tanstack/db";
import { expect, it } from "vitest";
import { perchCollectionOptions, recordRowKey } from "../../../src/client/tanstack/index.js";
import { cleanup, until } from "../../gateway/support.js";
import { pause } from "../../support/until.js";
import { as, badNetwork, testServer } from "../support.js";
import { everyFrame, row, streamsThrough, type Task, tasksOf } from "./support.js";

const insert = (id: string, more: object = {}) => ({
  op: "insert" as const,
  table: "tasks",
  id,
  data: { title: id },
  ...more,
});

it("has what was there, and what others write, update and delete", async () => {
  const server = await testServer();
  const client = as("ada", server);
  await client.push({ appId: "todo", changes: ["a", "b"].map((id) => insert(id)) });
  const tasks = tasksOf(client);
  await tasks.preload();
  expect(tasks.get("a")).toMatchObject({ id: "a", space_id: "~ada", title: "a" });
  await client.push({
    appId: "todo",
    changes: [
      insert("c"),
      { op: "update", table: "tasks", id: "a", data: { done: true } as never },
      { op: "delete", table: "tasks", id: "b" },
      { op: "insert", table: "notes", id: "n" },
    ],
  });
  await until(() => tasks.has("c"));
  expect([...tasks.keys()].sort()).toEqual(["a", "c"]);
  expect(tasks.get("a")).toMatchObject({ title: "a", done: true });
});

it("shows what is written in every frame from the write to its echo and on, whichever of echo and answer comes first", async () => {
  const server = await testServer();
  const streams = await badNetwork(server);
  const answers = await badNetwork(server);
  const client = as("ada", answers, { fetch: streamsThrough(streams.url) });
  const tasks = tasksOf(client);
  await tasks.preload();
  const pushed = async () => (await server.db.query("select 1 from perch.sync_changes")).length;
  let expected = 0;
  for (const late of [streams, answers]) {
    const id = `t${expected}`;
    const step = async (
      write: () => { isPersisted: { promise: Promise<unknown> } },
      look: () => unknown,
      wanted: unknown,
    ) => {
      late.hold("answers");
      const transaction = write();
      const frames = everyFrame(look);
      expected += 1;
      await until(async () => (await pushed()) === expected);
      // The one has come by now, and the other not.
      await pause(150);
      late.release();
      await transaction.isPersisted.promise;
      await pause(50);
      const watched = frames();
      expect(watched.frames).toBeGreaterThan(20);
      expect(watched.seen).toEqual([wanted]);
    };
    await step(
      () => tasks.insert(row(id, "one")),
      () => tasks.get(id)?.title,
      "one",
    );
    await step(
      () =>
        tasks.update(id, (draft) => {
          draft.title = "two";
        }),
      () => tasks.get(id)?.title,
      "two",
    );
    await step(
      () => tasks.delete(id),
      () => tasks.has(id),
      false,
    );
  }
});

it("shows a typed row until its transaction has come, which has no number yet when the push is answered", async () => {
  const server = await testServer();
  await server.db.query("create table items (id text primary key, space text not null, title text not null)");
  await server.db.query(
    "select perch.sync_table(relation => 'items', app_id => 'todo', space_column => 'space', writable_columns => '{title}')",
  );
  const streams = await badNetwork(server);
  const client = as("ada", server, { fetch: streamsThrough(streams.url) });
  const items = createCollection(
    perchCollectionOptions<Task>(client, { appId: "todo", table: "items", spaceId: "~ada" }),
  );
  cleanup(() => items.cleanup());
  await items.preload();
  streams.hold("answers");
  const transaction = items.insert(row("a", "typed"));
  const frames = everyFrame(() => items.get("a")?.title);
  await until(async () => (await server.db.query("select 1 from items")).length === 1);
  // What is asked behind it has been answered: so has it.
  await client.push({ appId: "todo", changes: [{ op: "insert", table: "notes", id: "fence", data: {} }] });
  expect(transaction.state).toBe("persisting");
  streams.release();
  await transaction.isPersisted.promise;
  expect(frames().seen).toEqual(["typed"]);
  expect(items.get("a")).toMatchObject({ space: "~ada", title: "typed" });
});

it("rolls back what the server refuses, with its reason", async () => {
  const server = await testServer();
  const client = as("ada", server);
  const tasks = tasksOf(client, "secret");
  await tasks.preload();
  const refused = tasks.insert({ ...row("x"), space_id: "secret" });
  expect(tasks.has("x")).toBe(true);
  await expect(refused.isPersisted.promise).rejects.toMatchObject({ code: "PE403" });
  expect(tasks.has("x")).toBe(false);
});

it("shows the records of all spaces, two with one id too, and lets go of a space that was left", async () => {
  const server = await testServer();
  const [client, olga] = [as("ada", server), as("olga", server)];
  await olga.spaces.create("club");
  await olga.spaces.setMember("club", "ada", "editor");
  await olga.push({ appId: "todo", changes: [insert("t", { space_id: "club" })] });
  const all = createCollection(perchCollectionOptions<Task>(client, { appId: "todo", table: "tasks" }));
  cleanup(() => all.cleanup());
  await all.preload();
  await all.insert(row("t", "mine")).isPersisted.promise;
  const key = (space_id: string) => recordRowKey({ space_id, id: "t" });
  expect([all.get(key("club"))?.title, all.get(key("~ada"))?.title]).toEqual(["t", "mine"]);
  await olga.spaces.removeMember("club", "ada");
  await until(() => !all.has(key("club")));
  expect(all.has(key("~ada"))).toBe(true);
});

it("asks for nothing any more once it is cleaned up, whatever it waited for", async () => {
  const server = await testServer();
  await as("ada", server).spaces.create("club");
  const waitedFor: string[] = [];
  for (let answered = 0; !waitedFor.at(-1)?.includes("/v1/changes"); answered++) {
    const asked: [path: string, signal: AbortSignal | null | undefined][] = [];
    // So many are answered, and the next gets none.
    const stuck: typeof fetch = (input, init) => {
      asked.push([String(input).slice(server.url.length), init?.signal]);
      if (asked.length <= answered) return fetch(input, init);
      return new Promise((_, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
    };
    const tasks = tasksOf(as("ada", server, { fetch: stuck }));
    tasks.startSyncImmediate();
    await until(() => asked.length > answered);
    const [path = "", signal] = asked[answered] ?? [];
    await tasks.cleanup();
    expect(signal?.aborted, path).toBe(true);
    waitedFor.push(path);
  }
  expect(waitedFor).toEqual(["/v1/spaces", "/v1/snapshot", "/v1/snapshot", expect.stringMatching(/^\/v1\/changes\b/)]);
});

it("shares one stream among the collections of an app, whenever they come and go", async () => {
  const server = await testServer();
  let streams = 0;
  const counting: typeof fetch = (input, init) => {
    if (String(input).includes("/v1/changes")) streams += 1;
    return fetch(input, init);
  };
  const client = as("ada", server, { fetch: counting });
  await client.push({ appId: "todo", changes: [insert("a")] });
  const [one, two] = [tasksOf(client), tasksOf(client)];
  await one.preload();
  await two.preload();
  await one.cleanup();
  await client.push({ appId: "todo", changes: [insert("b")] });
  await until(() => two.has("b"));
  const three = tasksOf(client);
  await three.preload();
  expect([...three.keys()].sort()).toEqual(["a", "b"]);
  expect(streams).toBe(1);
});

it("begins anew after all have gone, whatever the stream before was about to do", async () => {
  const server = await testServer();
  const network = await badNetwork(server);
  const client = as("ada", network);
  await client.push({ appId: "todo", changes: [insert("a")] });
  network.delayAnswers(30);
  for (let n = 0; n < 10; n++) {
    const tasks = tasksOf(client);
    tasks.startSyncImmediate();
    await pause(n * 15);
    await tasks.cleanup();
  }
  const tasks = tasksOf(client);
  await tasks.preload();
  expect([...tasks.keys()]).toEqual(["a"]);
  await tasks.insert(row("b")).isPersisted.promise;
  expect([...tasks.keys()].sort()).toEqual(["a", "b"]);
});

it("begins anew where the log does not go on, and keeps what is on its way", async () => {
  const server = await testServer();
  const network = await badNetwork(server);
  const [client, other] = [as("ada", network), as("ada", server)];
  await other.push({ appId: "todo", changes: ["a", "b"].map((id) => insert(id)) });
  const tasks = tasksOf(client);
  await tasks.preload();
  network.hold();
  const waiting = tasks.insert(row("mine"));
  const frames = everyFrame(() => tasks.has("mine"));
  await server.db.query("delete from perch.stored_records where record_id = 'b'");
  await server.db.query("select perch.new_epoch()");
  await other.push({ appId: "todo", changes: [insert("c")] });
  network.cut();
  network.release();
  await waiting.isPersisted.promise;
  await until(() => tasks.has("c") && !tasks.has("b"));
  expect(frames().seen).toEqual([true]);
});

it("shows nothing of an attempt to begin that failed midway", async () => {
  const server = await testServer();
  const olga = as("olga", server);
  await olga.spaces.create("club");
  await olga.spaces.setMember("club", "ada", "editor");
  await olga.push({ appId: "todo", changes: [insert("theirs", { space_id: "club" })] });
  const ada = as("ada", server);
  await ada.push({ appId: "todo", changes: ["a", "b", "c"].map((id) => insert(id)) });
  let asked = 0;
  // A record a page; of club all have come, and of ada's own space the first, when the network goes.
  const breaking: typeof fetch = async (input, init) => {
    if (!String(input).includes("/v1/snapshot")) return fetch(input, init);
    const body = { ...(JSON.parse(String(init?.body)) as { space_id: string }), page_size: 1 };
    asked += Number(body.space_id === "~ada");
    if (asked !== 2) return fetch(input, { ...init, body: JSON.stringify(body) });
    asked += 1;
    await ada.push({ appId: "todo", changes: [{ op: "delete", table: "tasks", id: "a" }] });
    await olga.spaces.removeMember("club", "ada");
    throw new TypeError("Failed to fetch");
  };
  const client = as("ada", server, { patienceMs: 0, fetch: breaking });
  const all = createCollection(perchCollectionOptions<Task>(client, { appId: "todo", table: "tasks" }));
  cleanup(() => all.cleanup());
  await all.preload();
  expect([...all.values()].map(({ id }) => id).sort()).toEqual(["b", "c"]);
});

it("says that it failed where the token is refused for good", async () => {
  const server = await testServer({ PERCH_JWT_SECRET: "s".repeat(32) });
  const tasks = tasksOf(as("ada", server));
  await expect(tasks.preload()).rejects.toMatchObject({ code: "PE401" });
});
