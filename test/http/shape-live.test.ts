import { get, type IncomingMessage } from "node:http";
import { beforeAll, expect, it } from "vitest";
import { logMoment } from "../../src/shapes/queries.js";
import { cleanup, makeSpace, type Node, startNode, until } from "../gateway/support.js";
import { describeBothKinds, postgres, type TestDatabase } from "../support/databases.js";
import { goBackTo, sequence, syncTable } from "../tables/support.js";
import { askShape, followShape, operations, readShape } from "./shape-support.js";

describeBothKinds("live shapes", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await makeSpace(t, "north", "ada");
  });

  async function makeTable(name: string, options = "space_column => 'team'") {
    await t.db.query(`create table ${name} (id int primary key, team text, title text)`);
    await syncTable(t.db, name, options);
  }

  async function openStream(node: Pick<Node, "gateway">, query: Record<string, string>, token = "ada") {
    const url = `${node.gateway.url}/v1/shape?${new URLSearchParams({ ...query, live: "true", live_sse: "true" })}`;
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = get(url, { headers: { authorization: `Bearer ${token}` }, agent: false }, resolve);
      request.on("error", reject);
      cleanup(() => request.destroy());
    });
    let text = "";
    let ended = false;
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => {
      text += chunk;
    });
    response.on("end", () => {
      ended = true;
    });
    response.on("error", () => undefined);
    const messages = () =>
      text
        .split("\n\n")
        .filter((event) => event.startsWith("data: "))
        .map((event) => JSON.parse(event.slice(6)));
    return { response, messages, text: () => text, ended: () => ended };
  }

  it("come as events, each change with where it leaves the reader", async () => {
    await makeTable("events");
    const node = await startNode(t, { env: { PERCH_STREAM_HEARTBEAT_MS: "100" } });
    const last = (await readShape(node, { table: "events" })).at(-1);
    const stream = await openStream(node, { table: "events", offset: last?.offset ?? "", handle: last?.handle ?? "" });
    expect(stream.response.statusCode).toBe(200);
    expect(stream.response.headers).toMatchObject({
      "content-type": "text/event-stream",
      "electric-handle": last?.handle,
      "electric-cursor": expect.any(String),
    });
    await t.db.query("insert into events values (1, 'north', 'one')");
    await until(() => stream.messages().length === 2, "the first change");
    await t.db.query("update events set title = 'uno'");
    await until(() => stream.messages().length === 4, "the second");
    expect(stream.messages().map(({ headers }) => headers.operation ?? headers.control)).toEqual([
      "insert",
      "up-to-date",
      "update",
      "up-to-date",
    ]);
    const { global_last_seen_lsn: lsn } = stream.messages()[1].headers;
    const [behind] = await readShape(node, { table: "events" }, {}, { offset: `${lsn}_0`, handle: last?.handle ?? "" });
    expect(behind && operations(behind)).toEqual([expect.stringContaining("uno")]);
    await until(() => stream.text().includes(": keep-alive"), "a sign of life");
  });

  it("end when it is time, and when the reader's rights are others", async () => {
    await makeTable("ending");
    const node = await startNode(t, { env: { PERCH_SHAPE_STREAM_MS: "300", PERCH_RECHECK_MS: "20" } });
    const last = (await readShape(node, { table: "ending" })).at(-1);
    const query = { table: "ending", offset: last?.offset ?? "", handle: last?.handle ?? "" };
    const stream = await openStream(node, query);
    await until(stream.ended, "its end");
    expect(stream.messages()).toMatchObject([{ headers: { control: "up-to-date" } }]);
    const long = await startNode(t, { env: { PERCH_RECHECK_MS: "20" } });
    const other = await openStream(long, query);
    await makeSpace(t, "west", "ada");
    await t.db.query("insert into ending values (1, 'north', 'x')");
    await until(other.ended, "its end");
    expect((await askShape(long, query)).status).toBe(409);
  });

  it("wait for the turn of nobody else who has the same shape", async () => {
    if (t.url === undefined) return;
    await makeSpace(t, "shared", "ada", { ben: "viewer" });
    await makeTable("turns", "space_id => 'shared'");
    const db = await t.connect();
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let isHeld = false;
    const transaction: typeof db.transaction = (work) =>
      db.transaction((tx) =>
        work({
          ...tx,
          async query(sql, ...rest) {
            isHeld ||= sql.includes("perch.shape_subset");
            if (sql.includes("perch.shape_subset")) await held;
            return (await tx.query(sql, ...rest)) as never;
          },
        }),
      );
    const env = { PERCH_CONNECTIONS_PER_USER: "1" };
    const node = await startNode(t, { env, db: { ...db, transaction } });
    const query = { table: "turns" };
    const last = (await readShape(node, query)).at(-1);
    const live = { ...query, live: "true", offset: last?.offset ?? "", handle: last?.handle ?? "" };
    const waiting = async (count: number) => {
      const seen = await fetch(`${node.gateway.url}/v1/console/shapes`, { headers: { authorization: "Bearer eve" } });
      return ((await seen.json()) as { readers: { count: number }[] }).readers[0]?.count === count;
    };
    const first = askShape(node, live);
    await until(() => waiting(1), "ada to wait");
    const second = askShape(node, live, { token: "ben" });
    await until(() => waiting(2), "ben to wait");
    const subset = askShape(node, { ...query, offset: "now" }, { method: "POST", body: "{}" });
    await until(() => isHeld, "ada's turn to be taken");
    await t.db.query("insert into turns values (1, 'shared', 'one')");
    expect(operations(await second)).toHaveLength(1);
    release();
    expect(operations(await first)).toHaveLength(1);
    expect((await subset).status).toBe(200);
  });

  it("are ended by a server that stops, and go on with the next", async () => {
    await makeTable("stopping");
    const node = await startNode(t);
    const last = (await readShape(node, { table: "stopping" })).at(-1);
    const query = { table: "stopping", offset: last?.offset ?? "", handle: last?.handle ?? "" };
    const stream = await openStream(node, query);
    const waiting = askShape(node, { ...query, live: "true" }).catch(() => undefined);
    await node.stop();
    await until(stream.ended, "its end");
    await waiting;
    const next = await startNode(t);
    await t.db.query("insert into stopping values (1, 'north', 'x')");
    expect((await readShape(next, { table: "stopping" }, {}, last)).flatMap(operations)).toHaveLength(1);
  });

  it("begin anew, and miss nothing, when the database went back under the server", async () => {
    await makeTable("went_back");
    const node = await startNode(t, { env: { PERCH_RECHECK_MS: "60000" } });
    const begun = async (where: string) => {
      const query = { table: "went_back", where };
      const last = (await readShape(node, query)).at(-1);
      return () => askShape(node, { ...query, offset: last?.offset ?? "", handle: last?.handle ?? "", live: "true" });
    };
    await t.db.query("insert into went_back values (1, 'north', 'kept')");
    await readShape(node, { table: "went_back" });
    const { position } = await logMoment(t.db);
    const patient = (await begun("id > 1000"))();
    const lost = (await begun("id > 1"))();
    await t.db.query("insert into went_back select n, 'north', 'lost' from generate_series(2, 6) n");
    expect((await lost).offset).toBe(`${position + 5n}_0`);
    await goBackTo(t.db, position);
    const found = (await begun("id > 6"))();
    await t.db.query("insert into went_back values (7, 'north', 'new')");
    const reply = await found;
    expect(operations(reply)).toEqual([expect.stringContaining("new")]);
    expect(reply.offset).toBe(`${position + 1n}_0`);
    expect((await patient).status).toBe(409);
    const ahead = "select perch.shape_changes('public', 'went_back', after_lsn => $1, upto => $2)";
    for (const [after, upto] of [
      [0n, position + 5n],
      [position + 5n, position + 5n],
    ]) {
      await expect(t.asUser("ada", (tx) => tx.query(ahead, [after, upto]))).rejects.toMatchObject({ code: "PE410" });
    }
  });

  it("are followed by the published client over events", async () => {
    await makeTable("published_events");
    const node = await startNode(t);
    const { shape, errors } = followShape(node, { table: "published_events" }, { liveSse: true });
    expect(await shape.rows).toEqual([]);
    for (const id of [1, 2, 3]) {
      await t.db.query("insert into published_events values ($1, 'north', 'x')", [id]);
      await until(() => shape.currentRows.length === id, `row ${id}`);
    }
    await t.db.query("delete from published_events where id = 2");
    await until(() => shape.currentRows.length === 2, "the deletion");
    expect(errors).toEqual([]);
  });

  it("give subsets of their rows, which the published client joins with what it follows", async () => {
    await makeTable("subsets");
    for (let id = 1; id <= 9; id++)
      await t.db.query("insert into subsets values ($1, 'north', $2)", [id, `t${id % 3}`]);
    await t.db.query("insert into subsets values (10, 'elsewhere', 't0')");
    const node = await startNode(t);
    const query = { table: "subsets", where: "id > 1", log: "changes_only", offset: "now" };
    const body = { where: "title = $1", params: { "1": "t0" }, order_by: "id desc", limit: 2 };
    const posted = await askShape(node, query, { method: "POST", body: JSON.stringify(body) });
    expect(posted.status).toBe(200);
    expect(posted.headers.get("electric-snapshot")).toBe("true");
    const { data, metadata } = posted.body;
    expect(data.map(({ value }: { value: { id: string } }) => value.id)).toEqual(["9", "6"]);
    expect(data[0].headers).toEqual({
      operation: "insert",
      snapshot_mark: metadata.snapshot_mark,
      relation: ["public", "subsets"],
    });
    expect(metadata).toMatchObject({ xmin: expect.any(String), xip_list: expect.any(Array) });
    const got = await askShape(node, {
      ...query,
      subset__where: "title = $1",
      subset__params: '{"1":"t0"}',
      subset__order_by: "id desc",
      subset__limit: "2",
    });
    expect(got.body.data.map(({ key }: { key: string }) => key)).toEqual(data.map(({ key }: { key: string }) => key));
    for (const [wrong, name] of [
      [{ limit: 2 }, "subset.order_by"],
      [{ limit: -1, order_by: "id" }, "subset.limit"],
      [{ where: "nothing = 1" }, "subset.where"],
      [{ where: "pg_sleep(1) is null" }, "subset.where"],
      [{ order_by: "lower(title)" }, "subset.order_by"],
      [{ order_by: "id; drop table subsets" }, "subset.order_by"],
    ] as const) {
      const refused = await askShape(node, query, { method: "POST", body: JSON.stringify(wrong) });
      expect(refused, JSON.stringify(wrong)).toMatchObject({
        status: 400,
        body: { errors: { [name]: [expect.any(String)] } },
      });
    }
    const narrow = { ...query, columns: "id", queryable_columns: "id,team" };
    const hidden = await askShape(node, narrow, { method: "POST", body: JSON.stringify({ where: "title = 'x'" }) });
    expect(hidden.status).toBe(400);

    const { stream, messages, errors } = followShape(node, { table: "subsets" }, { log: "changes_only" });
    await until(() => stream.isUpToDate, "the end of the log");
    await t.db.query("update subsets set title = 'before' where id = 3");
    const { data: rows } = await stream.requestSnapshot({ where: "id <= 3", orderBy: "id", limit: 10 });
    expect(rows.map(({ value }) => (value as { id: number }).id)).toEqual([1, 2, 3]);
    await t.db.query("update subsets set title = 'after' where id = 3");
    const titles = () =>
      messages.flatMap((message) => ("key" in message && message.key.endsWith('/"3"') ? [message.value.title] : []));
    await until(() => titles().at(-1) === "after", "the change behind the snapshot");
    // What was changed before it may have been told first, and is not told again.
    expect(titles().filter((title) => title !== "before")).toEqual(["after"]);
    expect(errors).toEqual([]);
  });

  it("of a table that nobody synced begin once, for all who ask at the same time", async () => {
    await t.db.query("create table at_once (id int primary key)");
    await t.db.query("insert into at_once values (1)");
    const node = await startNode(t);
    const begun = await Promise.all(
      Array.from({ length: 8 }, (_, nth) =>
        askShape(node, { table: "at_once", offset: "-1" }, { token: `reader${nth % 3}` }),
      ),
    );
    const next = await Promise.all(
      begun.map(({ offset, handle }, nth) =>
        askShape(node, { table: "at_once", offset, handle }, { token: `reader${nth % 3}` }),
      ),
    );
    expect(next.map(({ status }) => status)).toEqual(begun.map(() => 200));
  });

  it("of a table that nobody synced begin by themselves in development mode, and begin anew when deleted", async () => {
    await t.db.query("create table by_itself (id int primary key, title text)");
    await t.db.query("insert into by_itself values (1, 'one')");
    const node = await startNode(t);
    const url = `${node.gateway.url}/v1/shape`;
    // Nobody has asked for it: there is nothing to begin anew, nor is the space made use of before it is made.
    expect((await fetch(`${url}?table=by_itself`, { method: "DELETE" })).status).toBe(404);
    const anonymous = { headers: { authorization: "" } };
    const first = await readShape(node, { table: "by_itself" }, anonymous);
    expect(first.flatMap(operations)).toEqual([expect.stringContaining("one")]);
    const mine = await readShape(node, { table: "by_itself" });
    expect(mine.flatMap(operations)).toHaveLength(1);
    await t.db.query("insert into by_itself values (2, 'two')");
    expect((await readShape(node, { table: "by_itself" }, {}, mine.at(-1))).flatMap(operations)).toHaveLength(1);
    const { handle } = first.at(-1) ?? { handle: "" };
    expect((await fetch(`${url}?handle=${handle}`, { method: "DELETE" })).status).toBe(202);
    expect((await readShape(node, { table: "by_itself" }, {}, mine.at(-1)))[0]?.status).toBe(409);
    expect((await fetch(`${url}?table=by_itself`, { method: "DELETE" })).status).toBe(202);
    expect((await fetch(`${url}?table=none`, { method: "DELETE" })).status).toBe(404);
    await makeTable("by_hand");
    expect((await fetch(`${url}?table=by_hand`, { method: "DELETE" })).status).toBe(404);
    await t.db.query("create table keyless (id int)");
    expect(await askShape(node, { table: "keyless", offset: "-1" })).toMatchObject({
      status: 400,
      body: { errors: { table: [expect.stringContaining("no primary key")] } },
    });
    expect((await fetch(`${url}?table=keyless`, { method: "DELETE" })).status).toBe(404);
    const strict = await startNode(t, { env: { PERCH_JWT_SECRET: "0123456789abcdef0123456789abcdef" } });
    expect((await fetch(`${strict.gateway.url}/v1/shape?table=by_itself`, { method: "DELETE" })).status).toBe(405);
  });
});

const open = postgres();

it("begin anew for a handle that somebody made up, whatever moment it names", async () => {
  const t = await open();
  await makeSpace(t, "north", "ada");
  await t.db.query("create table made_up (id int primary key, team text, title text)");
  await syncTable(t.db, "made_up", "space_column => 'team'");
  const node = await startNode(t);
  const [first] = await readShape(node, { table: "made_up" });
  const [definition, since, made, shown] = first?.handle.split("-") ?? [];
  await t.db.query("insert into made_up select n, 'north', 'x' from generate_series(1, 1500) n");
  await sequence(t.db);
  const answered = async (...parts: (string | undefined)[]) =>
    (await askShape(node, { table: "made_up", offset: "0_0", handle: parts.join("-") })).status;
  expect(await answered(definition, since, made, shown)).toBe(200);
  const zs = "z".repeat(13);
  for (const wrong of ["0.0", "3.5.4.2", "3.5.1.1", "3.5.5", "3.5.9", `${zs}.0`, `3.${zs}`])
    expect([wrong, await answered(definition, since, made, wrong)]).toEqual([wrong, 409]);
  expect(await answered(definition, zs, made, shown)).toBe(409);
});

it("go on behind what the first snapshot showed, however much of it the log has to tell, too", async () => {
  const t = await open();
  await makeSpace(t, "north", "ada");
  await t.db.query("create table loaded (id int primary key, team text, title text)");
  await syncTable(t.db, "loaded", "space_column => 'team'");
  const node = await startNode(t, { env: { PERCH_SHAPE_CHUNK_BYTES: "30000" } });
  // They have no numbers yet when the reader begins.
  await t.db.query("insert into loaded select n, 'north', repeat('x', 2000) from generate_series(1, 1500) n");
  const replies = await readShape(node, { table: "loaded" });
  expect(replies.flatMap((reply) => operations(reply))).toHaveLength(1500);
  const { position } = await logMoment(t.db);
  expect(replies.at(-1)?.offset).toBe(`${position}_0`);
  // The end of the snapshot, and that of the log: in it they are a hundred pages, of which twenty are looked through for one answer.
  expect(replies.filter((reply) => operations(reply).length === 0)).toHaveLength(2);

  await t.db.query("update loaded set title = 'late' where id = 7");
  await sequence(t.db);
  const { offset = "", handle = "" } = replies.at(-1) ?? {};
  const [next] = await readShape(node, { table: "loaded" }, {}, { offset, handle });
  expect(next && operations(next)).toEqual([expect.stringContaining("late")]);
});
