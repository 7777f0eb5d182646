import { connect, type Socket } from "node:net";
import { expect, it } from "vitest";
import { askProbe, probeArgs } from "../../scripts/support/loop-probe.js";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { cleanup, makeSpace, startNode, until } from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { syncTable } from "../tables/support.js";
import { askShape, operations, readShape } from "./shape-support.js";

const open = postgres(18);

const roomy = {
  PERCH_MAX_REQUESTS_PER_USER: "5000",
  PERCH_MAX_SOCKETS_PER_USER: "0",
  PERCH_MAX_SOCKETS_PER_ADDRESS: "0",
  PERCH_SHAPE_WAIT_MS: "600000",
  PERCH_SHAPE_STREAM_MS: "600000",
};

/** Where requests are sent to. */
interface Server {
  readonly gateway: { readonly url: string; readonly port: number };
}

/** How many readers of shapes wait there. */
async function waitingAt(node: Server): Promise<number> {
  const seen = await fetch(`${node.gateway.url}/v1/console/shapes`, { headers: { authorization: "Bearer eve" } });
  const { readers } = (await seen.json()) as { readers: { count: number }[] };
  return readers.reduce((sum, { count }) => sum + count, 0);
}

/** A table with nothing in it, and requests that wait for something. In: starts a server on that database. */
async function start<Started extends Server>(serve: (t: TestDatabase) => Promise<Started>) {
  const t = await open();
  await makeSpace(t, "north", "ada");
  await t.db.query("create table items (id int primary key, team text, title text)");
  await syncTable(t.db, "items", "space_column => 'team'");
  const node = await serve(t);
  const last = (await readShape(node, { table: "items" })).at(-1);
  const live = { table: "items", offset: last?.offset ?? "", handle: last?.handle ?? "", live: "true" };
  const text = (more: Record<string, string> = {}) =>
    `GET /v1/shape?${new URLSearchParams({ ...live, ...more })} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ada\r\n\r\n`;
  return { t, node, live, poll: text(), stream: text({ live_sse: "true" }) };
}

function send(node: Server, requests: string): Socket {
  const socket = connect(node.gateway.port, "127.0.0.1", () => socket.write(requests));
  cleanup(() => socket.destroy());
  return socket.on("error", () => undefined).resume();
}

/**
 * So many connections with a request on each, that all wait. They come as fast as they are let in: whoever came all at once would wait
 * in line, and on a slow machine be told to come later. Out: lets them go.
 */
async function hold(node: Server, count: number, requests: readonly string[]): Promise<() => Promise<void>> {
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    for (let n = 0; n < 50 && sockets.length < count; n++) {
      sockets.push(send(node, requests[sockets.length % requests.length] ?? ""));
    }
    await until(async () => (await waitingAt(node)) === sockets.length, `${sockets.length} to wait`);
  }
  return async () => {
    for (const socket of sockets) socket.destroy();
    await until(async () => (await waitingAt(node)) === 0, "them to be gone");
  };
}

// In a process of its own, of which nothing else takes memory.
it("a thousand readers that wait hold no timer each, and little memory", async () => {
  const { node, poll, stream } = await start(async ({ url = "" }) => {
    const perch = await perchProcess({ nodeArgs: probeArgs, env: { DATABASE_URL: url, ...roomy } });
    cleanup(() => perch.kill());
    await perch.start();
    return { perch, gateway: { url: perch.httpUrl, port: Number(new URL(perch.httpUrl).port) } };
  });
  const count = 1_000;
  // What is made once is made by some.
  const leave = await hold(node, 100, [poll, stream]);
  await leave();
  const before = await askProbe(node.perch);
  const held = async () => ((await askProbe(node.perch)).heapUsed - before.heapUsed) / count;
  const leaveAll = await hold(node, count, [poll, stream]);
  // Of Node's own each connection and its request are five kilobytes.
  await until(async () => (await held()) < 11_000, "what they hold to be little");
  expect((await askProbe(node.perch)).timers - before.timers).toBeLessThan(20);
  await leaveAll();
  await until(async () => (await held()) < 4_000, "most of it to be let go of");
});

it("readers that wait and go are forgotten, and give back their places, also behind another on their connection", async () => {
  const { t, node, live, poll, stream } = await start((t) =>
    startNode(t, {
      env: {
        PERCH_MAX_STREAMS: "2",
        PERCH_MAX_REQUESTS_PER_USER: "4",
        PERCH_SHAPE_WAIT_MS: "600000",
        PERCH_SHAPE_STREAM_MS: "600000",
      },
    }),
  );
  for (let round = 0; round < 3; round++) {
    const sockets = [poll + poll, stream, stream].map((requests) => send(node, requests));
    await until(async () => (await waitingAt(node)) === 4, "all to wait");
    expect((await askShape(node, live)).status).toBe(429);
    for (const socket of sockets) socket.destroy();
    await until(async () => (await waitingAt(node)) === 0, "them to be gone");
  }
  const waiting = askShape(node, live);
  await until(async () => (await waitingAt(node)) === 1, "one to wait");
  await t.db.query("insert into items values (1, 'north', 'one')");
  expect(operations(await waiting)).toHaveLength(1);
});

it("a reader whose table is gone is told so, and those of others go on", async () => {
  const { t, node, live } = await start((t) => startNode(t, { env: { PERCH_RECHECK_MS: "20" } }));
  await t.db.query("create table others (id int primary key, team text, item int)");
  await syncTable(t.db, "others", "space_column => 'team'");
  // Of a filter with a sub-select: a change of the other table concerns it.
  const where = "id in (select item from others)";
  const last = (await readShape(node, { table: "items", where })).at(-1);
  const ends = askShape(node, { ...live, where, offset: last?.offset ?? "", handle: last?.handle ?? "" });
  const goesOn = askShape(node, live);
  await until(async () => (await waitingAt(node)) === 2, "both to wait");
  await t.db.query("select perch.unsync_table(relation => 'others')");
  await t.db.query("insert into items values (2, 'north', 'two')");
  expect(operations(await goesOn)).toHaveLength(1);
  const { status } = await ends;
  expect([400, 404, 409]).toContain(status);
  expect(await waitingAt(node)).toBe(0);
});

it("a filter that is none is told so at once, also where all is known that is behind its reader, and is tried with nobody's", async () => {
  const { t, node, live } = await start((t) => startNode(t));
  const good = askShape(node, live);
  await until(async () => (await waitingAt(node)) === 1, "somebody to wait");
  await t.db.query("insert into items values (3, 'north', 'three')");
  const known = await good;
  const where = "id > 'x'";
  const begun = await askShape(node, { table: "items", where, offset: "now" });
  const follows = { table: "items", where, live: "true", offset: known.offset, handle: begun.handle };
  expect((await askShape(node, follows)).status).toBe(400);
  expect(await waitingAt(node)).toBe(0);
});
