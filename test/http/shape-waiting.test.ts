import { connect } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import { expect, it } from "vitest";
import { cleanup, makeSpace, type Node, startNode, until } from "../gateway/support.js";
import { postgres } from "../support/databases.js";
import { syncTable } from "../tables/support.js";
import { askShape, operations, readShape } from "./shape-support.js";

const open = postgres(18);

/** How many readers of shapes wait there. */
async function waitingAt(node: Node): Promise<number> {
  const seen = await fetch(`${node.gateway.url}/v1/console/shapes`, { headers: { authorization: "Bearer eve" } });
  const { readers } = (await seen.json()) as { readers: { count: number }[] };
  return readers.reduce((sum, { count }) => sum + count, 0);
}

/** A table with nothing in it, and requests that wait for something. */
async function start(env: Record<string, string>) {
  const t = await open();
  await makeSpace(t, "north", "ada");
  await t.db.query("create table items (id int primary key, team text, title text)");
  await syncTable(t.db, "items", "space_column => 'team'");
  const node = await startNode(t, { env });
  const last = (await readShape(node, { table: "items" })).at(-1);
  const live = { table: "items", offset: last?.offset ?? "", handle: last?.handle ?? "", live: "true" };
  const text = (more: Record<string, string> = {}) =>
    `GET /v1/shape?${new URLSearchParams({ ...live, ...more })} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ada\r\n\r\n`;
  return { t, node, live, poll: text(), stream: text({ live_sse: "true" }) };
}

/**
 * Connections with a request on each, that all wait, held by a thread of their own: what they take is in no figure of this one. They come as fast as
 * they are let in: whoever came all at once would wait in line, and on a slow machine be told to come later.
 */
async function hold(node: Node, count: number, requests: readonly string[]) {
  const worker = new Worker(
    `const { connect } = require("node:net");
     const { parentPort, workerData: { port, requests } } = require("node:worker_threads");
     const sockets = [];
     parentPort.on("message", (count) => {
       if (count === 0) for (const socket of sockets) socket.destroy();
       while (sockets.length < count) {
         const request = requests[sockets.length % requests.length];
         const socket = connect(port, "127.0.0.1", () => socket.write(request));
         sockets.push(socket.on("error", () => undefined).resume());
       }
     });`,
    { eval: true, workerData: { port: node.gateway.port, requests } },
  );
  cleanup(async () => void (await worker.terminate()));
  for (let upto = 0; upto < count; ) {
    upto = Math.min(upto + 50, count);
    worker.postMessage(upto);
    await until(async () => (await waitingAt(node)) === upto, `${upto} to wait`);
  }
  return {
    async drop() {
      worker.postMessage(0);
      await until(async () => (await waitingAt(node)) === 0, "them to be gone");
      await worker.terminate();
    },
  };
}

/** What is reachable in this thread, in bytes. */
function reachable(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  for (let n = 0; n < 3; n++) collect();
  return process.memoryUsage().heapUsed;
}

const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;

const roomy = {
  PERCH_MAX_REQUESTS_PER_USER: "5000",
  PERCH_MAX_SOCKETS_PER_USER: "0",
  PERCH_MAX_SOCKETS_PER_ADDRESS: "0",
  PERCH_SHAPE_WAIT_MS: "600000",
  PERCH_SHAPE_STREAM_MS: "600000",
};

it("a thousand readers that wait hold no timer each, and little memory", { timeout: 180_000 }, async () => {
  const { node, poll, stream } = await start(roomy);
  const count = 1_000;
  // What is made once is made by a few.
  const few = await hold(node, 20, [poll, stream]);
  await few.drop();
  const before = { timers: timers(), bytes: reachable() };
  const many = await hold(node, count, [poll, stream]);
  // Of Node's own each connection and its request are five kilobytes.
  await until(() => (reachable() - before.bytes) / count < 11_000, "what they hold to be little");
  expect(timers() - before.timers).toBeLessThan(20);
  await many.drop();
  await until(() => (reachable() - before.bytes) / count < 2_000, "it to be let go of");
});

it("readers that wait and go are forgotten, and give back their places, also behind another on their connection", async () => {
  const { t, node, live, poll, stream } = await start({
    PERCH_MAX_STREAMS: "2",
    PERCH_MAX_REQUESTS_PER_USER: "4",
    PERCH_SHAPE_WAIT_MS: "600000",
    PERCH_SHAPE_STREAM_MS: "600000",
  });
  for (let round = 0; round < 3; round++) {
    const sockets = [poll + poll, stream, stream].map((requests) => {
      const socket = connect(node.gateway.port, "127.0.0.1", () => socket.write(requests));
      cleanup(() => socket.destroy());
      return socket.on("error", () => undefined).resume();
    });
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
  const { t, node, live } = await start({ PERCH_RECHECK_MS: "20" });
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
