import { expect, it } from "vitest";
import { startNode } from "../gateway/support.js";
import { pglite } from "../support/databases.js";

const open = pglite();

it("how long requests take does not count what long polls wait for news", async () => {
  const database = await open();
  await database.db.query("select perch.register_reader(reader => 'search', app_ids => '{todo}')");
  const { gateway } = await startNode(database);
  const post = async (path: string, body: object) => {
    const response = await fetch(gateway.url + path, {
      method: "POST",
      headers: { authorization: "Bearer perch:reader:search" },
      body: JSON.stringify(body),
    });
    expect(response.status).toBe(200);
    return (await response.json()) as { cursor?: unknown; changes?: unknown };
  };
  const { cursor } = await post("/v1/log/snapshot", {});
  const began = performance.now();
  expect((await post("/v1/log", { cursor, wait_ms: 5_000 })).changes).toEqual([]);
  const seconds = (performance.now() - began) / 1_000;
  const figures = await (await fetch(`${gateway.url}/metrics`)).text();
  expect(Number(/^perch_request_seconds_count (\d+)$/m.exec(figures)?.[1])).toBeGreaterThanOrEqual(2);
  expect(Number(/^perch_request_seconds_sum (\S+)$/m.exec(figures)?.[1])).toBeLessThan(seconds / 2);
});
