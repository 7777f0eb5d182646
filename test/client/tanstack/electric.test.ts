import { type CollectionConfig, createCollection } from "@tanstack/db";
import { electricCollectionOptions } from "@tanstack/electric-db-collection";
import { expect, it } from "vitest";
import { memoryStorage } from "../../../src/client/index.js";
import { perchOutbox, perchWrites, type RowSpec } from "../../../src/client/tanstack/index.js";
import { ownLocks } from "../../../src/client/tanstack/queues.js";
import { cleanup, makeSpace, until } from "../../gateway/support.js";
import { postgres } from "../../support/databases.js";
import { serving } from "../../support/serving.js";
import { as, badNetwork } from "../support.js";
import { everyFrame } from "./support.js";

// A type and no interface: what Electric calls a row has an index.
type Todo = { id: string; team: string; title: string; done: boolean; big: bigint | null };

const open = postgres();

/** A table of todos behind a server, and Electric collections on it with perch's writes. */
async function todos() {
  const t = await open();
  await makeSpace(t, "north", "ada", { bob: "viewer" });
  await t.db.query(
    `create table todos (id text primary key, team text not null, title text not null constraint not_empty check (title <> ''),
       done boolean not null default false, big bigint)`,
  );
  await t.db.query(
    `select perch.sync_table(relation => 'todos', app_id => 'app', space_column => 'team', writable_columns => '{title,done,big}')`,
  );
  const { gateway } = await serving({ url: t.url ?? "" });
  const spec: RowSpec<Todo> = { appId: "app", table: "todos", space: "team" };
  const collectionOf = (user: string, streamsUrl = gateway.url, params: Record<string, string> = {}) => {
    const client = as(user, gateway);
    const collection = createCollection(
      electricCollectionOptions<Todo>({
        id: `todos-${user}-${streamsUrl}-${JSON.stringify(params)}`,
        shapeOptions: {
          url: `${streamsUrl}/v1/shape`,
          params: { table: "todos", ...params },
          headers: { authorization: `Bearer ${user}` },
        },
        getKey: ({ id }) => id,
        ...perchWrites(client, spec),
        // Made with another copy of TanStack's types than ours; an app has one.
      }) as unknown as CollectionConfig<Todo, string>,
    );
    cleanup(() => collection.cleanup());
    return { client, collection };
  };
  return { t, gateway, spec, collectionOf };
}

const todo = (id: string, title = id): Todo => ({ id, team: "north", title, done: false, big: null });

it("an Electric collection writes typed rows, shows them in every frame, and another one has them", async () => {
  const { t, gateway, collectionOf } = await todos();
  const network = await badNetwork(gateway);
  const { collection } = collectionOf("ada", network.url);
  const other = collectionOf("bob").collection;
  await Promise.all([collection.preload(), other.preload()]);
  network.delayAnswers(200);
  const inserted = collection.insert({ ...todo("a"), big: 9007199254740993n });
  const frames = everyFrame(() => collection.has("a"));
  await inserted.isPersisted.promise;
  await until(() => other.has("a"));
  const updated = collection.update("a", (draft) => {
    draft.done = true;
  });
  await updated.isPersisted.promise;
  expect(frames().seen).toEqual([true]);
  const [row] = await t.db.query("select title, done, big::text from todos");
  expect(row).toEqual({ title: "a", done: true, big: "9007199254740993" });
  await until(() => other.get("a")?.done === true);
  await collection.delete("a").isPersisted.promise;
  await until(() => !other.has("a"));
  expect(collection.has("a")).toBe(false);
});

it("what the table or the space refuses is rolled back, with the reason", async () => {
  const { collectionOf } = await todos();
  const [{ collection }, viewer] = [collectionOf("ada"), collectionOf("bob")];
  await Promise.all([collection.preload(), viewer.collection.preload()]);
  await expect(collection.insert(todo("a", "")).isPersisted.promise).rejects.toMatchObject({
    code: "PE422",
    detail: { cause: { constraint: "not_empty" } },
  });
  await expect(viewer.collection.insert(todo("b")).isPersisted.promise).rejects.toMatchObject({ code: "PE403" });
  expect([collection.size, viewer.collection.size]).toEqual([0, 0]);
});

it("a filtered one has the rows of its filter, and lets go of one that leaves it", async () => {
  const { collectionOf } = await todos();
  const { collection } = collectionOf("ada");
  const unfinished = collectionOf("ada", undefined, { where: "not done" }).collection;
  await Promise.all([collection.preload(), unfinished.preload()]);
  await collection.insert([todo("a"), todo("b")]).isPersisted.promise;
  await until(() => unfinished.size === 2);
  await collection.update("a", (draft) => {
    draft.done = true;
  }).isPersisted.promise;
  await until(() => !unfinished.has("a"));
  expect([...unfinished.keys()]).toEqual(["b"]);
});

it("an outbox keeps what was written to it offline over a reload, and shows it until the echo", async () => {
  const { t, gateway, spec, collectionOf } = await todos();
  const network = await badNetwork(gateway);
  const values = new Map<string, string>();
  const page = async () => {
    const { collection } = collectionOf("ada", network.url);
    const outbox = await perchOutbox(as("ada", network), {
      user: "ada",
      collections: { todos: { collection, spec } },
      storage: memoryStorage(values),
      locks: ownLocks(),
    });
    cleanup(() => outbox.close());
    return { collection, outbox };
  };
  const first = await page();
  await first.collection.preload();
  network.hold();
  await first.outbox.mutate(() => first.collection.insert(todo("a"))).stored;
  await first.outbox.mutate(() => {
    first.collection.update("a", (draft) => {
      draft.title = "edited";
    });
    first.collection.insert(todo("b"));
  }).stored;
  await first.outbox.close();
  await first.collection.cleanup();
  const second = await page();
  await until(() => second.collection.get("a")?.title === "edited" && second.collection.has("b"));
  const frames = everyFrame(() => `${second.collection.get("a")?.title} ${second.collection.has("b")}`);
  network.cut();
  network.release();
  second.outbox.tryNow();
  await second.collection.preload();
  await until(() => values.size === 0);
  await until(async () => (await t.db.query("select 1 from todos where title = 'edited'")).length === 1);
  const third = collectionOf("ada").collection;
  await third.preload();
  expect(third.size).toBe(2);
  expect(frames().seen).toEqual(["edited true"]);
});

it("begins anew where its shape does, and keeps what waits", async () => {
  const { t, gateway, spec, collectionOf } = await todos();
  const network = await badNetwork(gateway);
  const { collection } = collectionOf("ada");
  await t.db.query("insert into todos values ('there', 'north', 'there')");
  await collection.preload();
  const outbox = await perchOutbox(as("ada", network), {
    user: "ada",
    collections: { todos: { collection, spec } },
    storage: memoryStorage(),
    locks: ownLocks(),
  });
  cleanup(() => outbox.close());
  network.hold();
  const waiting = outbox.mutate(() => collection.insert(todo("mine")));
  const frames = everyFrame(() => collection.has("mine"));
  await t.db.query("select perch.new_epoch()");
  await t.db.query("delete from todos where id = 'there'");
  await t.db.query("insert into todos values ('new', 'north', 'new')");
  await until(() => collection.has("new") && !collection.has("there"));
  network.cut();
  network.release();
  outbox.tryNow();
  await waiting.transaction.isPersisted.promise;
  expect(frames().seen).toEqual([true]);
  expect([...collection.keys()].sort()).toEqual(["mine", "new"]);
});
