import { LoroDoc } from "loro-crdt";
import { beforeAll, expect, it } from "vitest";
import { createMetrics } from "../../src/lib/metrics.js";
import { declareNotes, rawClient, startNode, text, typed } from "../gateway/support.js";
import { pglite, type TestDatabase } from "../support/databases.js";

const open = pglite();
let database: TestDatabase;
beforeAll(async () => {
  database = await open();
  await declareNotes(database);
});

it("metrics are written as Prometheus reads them", () => {
  const metrics = createMetrics();
  const counter = metrics.counter("a_total", "How many.", ["kind"]);
  counter.add("x");
  counter.add("x");
  counter.add("y");
  metrics.gauge("b", "How much.", () => 1.5);
  const histogram = metrics.histogram("c_seconds", "How long.");
  for (const seconds of [0.0005, 0.003, 0.003, 100]) histogram.observe(seconds);
  const lines = metrics.text().split("\n");
  expect(lines.slice(0, 4)).toEqual([
    "# HELP a_total How many.",
    "# TYPE a_total counter",
    'a_total{kind="x"} 2',
    'a_total{kind="y"} 1',
  ]);
  expect(lines).toContain("b 1.5");
  expect(lines).toContain('c_seconds_bucket{le="0.001"} 1');
  expect(lines).toContain('c_seconds_bucket{le="0.005"} 3');
  expect(lines).toContain('c_seconds_bucket{le="30"} 3');
  expect(lines).toContain('c_seconds_bucket{le="+Inf"} 4');
  expect(lines).toContain("c_seconds_count 4");
});

it("the gateway counts sockets, rooms, joins, batches and requests", async () => {
  const node = await startNode(database);
  const client = await rawClient(node, { token: "ada" });
  await client.join("/app/notes/m1");
  await client.join("/app/notes/m1", { crdt: "%EPH" });
  await client.join("~bob/app/notes/m1");
  await client.update("/app/notes/m1", [typed(new LoroDoc(), "x")]);
  await client.update("/app/notes/m1", [text("none")]);
  await fetch(`${node.gateway.url}/no/such/path`);
  const reply = await fetch(`${node.gateway.url}/metrics`);
  expect(reply.headers.get("content-type")).toMatch(/^text\/plain; version=0.0.4/);
  const lines = (await reply.text()).split("\n");
  for (const line of [
    "perch_sockets 1",
    'perch_rooms{type="eph"} 1',
    "perch_presence_rooms 1",
    'perch_joins_total{result="ok"} 2',
    'perch_joins_total{result="refused"} 1',
    'perch_batches_total{status="ok"} 1',
    'perch_batches_total{status="invalidUpdate"} 1',
    "perch_batch_seconds_count 2",
    'perch_requests_total{path="other",status="404"} 1',
  ]) {
    expect(lines).toContain(line);
  }
});
