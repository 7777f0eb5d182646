import { expect, it } from "vitest";
import { freePort } from "../../scripts/support/free-port.js";
import { startNode } from "../gateway/support.js";
import { postgres } from "../support/databases.js";

const open = postgres();

it("figures can have a port of their own, where there is nothing else", async () => {
  const port = await freePort();
  const node = await startNode(await open(), { env: { PERCH_METRICS_PORT: String(port) } });
  const status = async (url: string) => {
    const response = await fetch(url);
    await response.arrayBuffer();
    return response.status;
  };
  const own = `http://127.0.0.1:${port}`;
  expect(
    await Promise.all([`${own}/metrics`, `${own}/healthz`, `${own}/v1/changes`, `${own}/sync`].map(status)),
  ).toEqual([200, 404, 404, 426]);
  expect(await Promise.all(["/metrics", "/healthz"].map((path) => status(node.gateway.url + path)))).toEqual([
    404, 200,
  ]);
});
