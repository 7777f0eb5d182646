import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { shortLived } from "../support/processes.js";
import { until } from "../support/until.js";

it("perch dev names the console and logs one line a request, for people, without tokens and bodies", async () => {
  const cwd = await mkdtemp(join(tmpdir(), "perch-dev-"));
  onTestFinished(() => rm(cwd, { recursive: true, force: true }));
  const perch = await perchProcess({ args: ["dev"], cwd, nodeArgs: shortLived });
  await perch.start();
  onTestFinished(async () => void (await perch.stop()));
  expect(perch.output).toContain(`console   ${perch.httpUrl}/console/`);
  expect((await fetch(`${perch.httpUrl}/console/`)).status).toBe(200);

  const change = { op: "insert", table: "tasks", id: "t1", data: { title: "between us" } };
  await fetch(`${perch.httpUrl}/v1/push?colour=token-in-query`, {
    method: "POST",
    headers: { authorization: "Bearer ann" },
    body: JSON.stringify({ app_id: "todo", changes: [change] }),
  });
  await fetch(`${perch.httpUrl}/v1/spaces/secret-plans?token=bob`);
  await until(() => perch.output.includes("/v1/spaces/{space}"), "both requests are in the log");
  expect(perch.output).toMatch(/^\[\d\d:\d\d:\d\d\] INFO: POST \/v1\/push 200 \d+ ms ann$/m);
  expect(perch.output).toMatch(/^\[\d\d:\d\d:\d\d\] INFO: GET \/v1\/spaces\/\{space\} 403 \d+ ms bob$/m);
  expect(perch.output).not.toMatch(/between us|token-in-query|secret-plans/);
  // Nothing for terminals, since this is none; and no line for what asks every second.
  expect(perch.output).not.toContain("\x1b");
  expect(perch.output).not.toContain("readyz");
});
