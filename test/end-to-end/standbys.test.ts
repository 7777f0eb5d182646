/** PERCH_READ_URLS of a process: every way of reading, by a standby that has all, stands still, and goes on. */
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { openEditor } from "../../scripts/faults/editor.js";
import { seeded } from "../../scripts/faults/random.js";
import { type PerchProcess, perchProcess } from "../../scripts/support/perch-process.js";
import { userToken } from "../../scripts/support/user-token.js";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { withContext } from "../../src/identity/context.js";
import { prepare } from "../faults/support.js";
import { startPostgresServer } from "../support/postgres-server.js";
import { underWay, until } from "../support/until.js";

const ends: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of ends.reverse()) await end();
});
let db: Database;
let there: Database;
let perch: PerchProcess;
let standbyName: string;

beforeAll(async () => {
  // What does not wait for the disk gets there, and so to the standby, ten seconds later by itself.
  const primary = await startPostgresServer({ settings: { wal_writer_delay: "10s" } });
  ends.push(() => primary.close());
  db = openPostgres({ url: primary.url() });
  ends.push(() => db.close());
  await migrate(db);
  await prepare(db, ["ann"]);
  await db.query("create table public.items (id text primary key, team text)");
  await db.query("select perch.sync_table('public.items', 'shop', space_column => 'team')");
  await db.query("select perch.register_reader(reader => 'search', app_ids => '{shop}')");
  const standby = await startPostgresServer({ standbyOf: primary });
  ends.push(() => standby.close());
  standbyName = `127.0.0.1:${standby.port}`;
  there = openPostgres({ url: standby.url(), onError: () => undefined });
  ends.push(() => there.close());
  perch = await perchProcess({
    args: ["worker"],
    env: { DATABASE_URL: primary.url(), PERCH_READ_URLS: standby.url() },
  });
  ends.push(() => perch.kill());
  await perch.start();
});

const ask = async (path: string, body?: object, claims = {}) => {
  const answer = await fetch(`${perch.httpUrl}${path}`, {
    headers: { authorization: `Bearer ${userToken("ann", claims)}`, "content-type": "application/json" },
    ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
  });
  expect(answer.status, path).toBe(200);
  return { text: await answer.text(), headers: answer.headers };
};

/** A figure of /metrics. */
async function figure(name: string): Promise<number> {
  const [, value] =
    (await ask("/metrics")).text
      .split("\n")
      .map((line) => line.split(" "))
      .find(([key]) => key === name) ?? [];
  return Number(value);
}
const byStandby = () => figure("perch_standby_reads_total");

/** Reads on in a shape until it is up to date. Out: the keys that came. */
async function follow(place: { query: string }): Promise<string[]> {
  const came: string[] = [];
  for (;;) {
    const { text, headers } = await ask(`/v1/shape?table=items&${place.query}`);
    place.query = `handle=${headers.get("electric-handle")}&offset=${headers.get("electric-offset")}`;
    const messages = JSON.parse(text) as { value?: { id: string }; headers: { control?: string } }[];
    came.push(...messages.flatMap(({ value }) => value?.id ?? []));
    if (messages.some((message) => message.headers.control === "up-to-date")) return came;
  }
}

const store = new DocumentStore();
ends.push(() => store.close());
let written = 0;
const search = { perch_reader: "search" };
const shape = { query: "offset=-1" };
let logCursor: unknown;
/** Each looks for what was written last. */
const ways: Record<string, (id: string) => Promise<boolean>> = {
  async pull(id) {
    const { text } = await ask("/v1/pull", { app_id: "shop", page_size: 1000 });
    return text.includes(`"${id}"`);
  },
  async snapshot(id) {
    const { text } = await ask("/v1/snapshot", { app_id: "shop", space_id: "team", page_size: 1000 });
    return text.includes(`"${id}"`);
  },
  shape: async (id) => (await follow(shape)).includes(id),
  "a shape from its beginning": async (id) => (await follow({ query: "offset=-1" })).includes(id),
  async "a document"(id) {
    const { text } = await ask(`/v1/documents/team/faults/boards/${id}`);
    return (JSON.parse(text) as { data: { title?: string } }).data.title === id;
  },
  async "a document that is joined"(id) {
    const roomIds = [`team/faults/boards/${id}`];
    const editor = openEditor({ url: perch.url, user: "ann", roomIds, random: seeded(1) });
    await editor.ready;
    editor.close();
    return JSON.stringify(editor.sheets[0]?.doc.toJSON()).includes(`"${id}"`);
  },
  async "the log of a service"(id) {
    logCursor ??= (JSON.parse((await ask("/v1/log/snapshot", {}, search)).text) as { cursor: unknown }).cursor;
    const { text } = await ask("/v1/log", { cursor: logCursor }, search);
    return text.includes(`"${id}"`);
  },
};

/** How many questions each asks at least. */
const questions: Record<string, number> = { "a document that is joined": 2 };

/** Writes by other programs than the process that is asked. */
async function write(): Promise<string> {
  const id = `i${++written}`;
  await db.query("insert into items values ($1, 'team')", [id]);
  await withContext(db, { userId: "ann" }, (tx) =>
    store.applyPatch(tx, { spaceId: "team", appId: "faults", tableName: "boards", recordId: id }, { title: id }),
  );
  // The number that makes it known to readers of the log.
  await until(async () => (await db.query("select from perch.captured_changes")).length === 0);
  return id;
}

it.for(Object.keys(ways))("%s: by a standby, and never less than what was committed before", async (name) => {
  const read = async () => {
    const id = await write();
    expect(await ways[name]?.(id), `${name} has ${id}`).toBe(true);
  };
  const isByStandby = () =>
    until(async () => {
      const before = await byStandby();
      await read();
      return (await byStandby()) >= before + (questions[name] ?? 1);
    });
  await isByStandby();
  const before = await byStandby();
  await there.query("select pg_wal_replay_pause()");
  await until(async () => (await there.query("select where pg_get_wal_replay_pause_state() = 'paused'")).length > 0);
  await read();
  expect(await byStandby()).toBe(before);
  expect(await figure(`perch_standby_lag_bytes{standby="${standbyName}"}`)).toBeGreaterThan(0);
  await there.query("select pg_wal_replay_resume()");
  await isByStandby();
  expect(await figure('perch_standby_misses_total{why="behind"}')).toBeGreaterThan(0);
});

it("a shape that begins while a transaction is open has what that commits later", async () => {
  let end = () => {};
  const ended = new Promise<void>((done) => {
    end = done;
  });
  let isIn = false;
  const late = underWay(
    db.transaction(async (tx) => {
      await tx.query("insert into items values ('late', 'team')");
      isIn = true;
      await ended;
    }),
  );
  onTestFinished(() => end());
  await until(() => isIn);
  const places = ["offset=-1", "offset=now"].map((query) => ({ query }));
  for (const place of places) {
    const { query } = place;
    await until(async () => {
      await write();
      const before = await byStandby();
      place.query = query;
      expect(await follow(place)).not.toContain("late");
      return (await byStandby()) > before;
    });
  }
  end();
  await late;
  await until(async () => (await db.query("select from perch.captured_changes")).length === 0);
  for (const place of places) expect(await follow(place), place.query).toContain("late");
});
