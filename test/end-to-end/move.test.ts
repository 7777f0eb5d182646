/** An embedded folder that outgrew its machine: moved to a server under clients that are connected, and go on where they were. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { embeddedUrl } from "../../scripts/demo/stage.js";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { userToken, workerSecret } from "../../scripts/support/user-token.js";
import {
  expectAllEqual,
  expectNothingLost,
  keepEditing,
  openEditors,
  openQuietly,
  prepare,
  typed,
} from "../faults/support.js";
import { postgres } from "../support/databases.js";
import { runPerch } from "../support/processes.js";
import { startTcpProxy } from "../support/tcp-proxy.js";
import { underWay, until } from "../support/until.js";

const open = postgres(18);
const users = ["ann", "ben"];

it("clients of perch start go on with the server that its folder is moved to, within ten seconds", async () => {
  const cwd = await mkdtemp(join(tmpdir(), "perch-move-"));
  onTestFinished(() => rm(cwd, { recursive: true, force: true }));
  const target = await open();
  const env = { PERCH_JWT_SECRET: workerSecret };
  const source = await perchProcess({ cwd, env });
  onTestFinished(() => source.kill());
  await source.start();
  const folder = openQuietly(embeddedUrl(join(cwd, ".perch")));
  await prepare(folder, users);
  await folder.close();

  const worker = await perchProcess({ args: ["worker"], env: { DATABASE_URL: target.url as string } });
  onTestFinished(() => worker.kill());
  // As a load balancer, it leads to whoever takes connections.
  const front = await startTcpProxy([source, worker].map(({ httpUrl }) => ({ port: Number(new URL(httpUrl).port) })));
  onTestFinished(() => front.close());
  const frontUrl = `http://127.0.0.1:${front.port}`;

  const editors = await openEditors(`ws://127.0.0.1:${front.port}/sync`, users);
  onTestFinished(() => {
    for (const editor of editors) editor.close();
  });
  const stopEditing = keepEditing(editors, 50);
  /** When something was last pushed there, and first here; by the cursor that was read there, nothing is given twice and nothing is left out. */
  const pushed: { readonly id: string; readonly at: number }[] = [];
  let pushing = true;
  const headers = { authorization: `Bearer ${userToken("ann")}`, "content-type": "application/json" };
  const body = (id: string) =>
    JSON.stringify({
      app_id: "todo",
      client_id: "c",
      changes: [{ op: "insert", table: "tasks", id, op_id: id, data: { title: id } }],
    });
  const pusher = underWay(
    (async () => {
      for (let n = 0; pushing; ) {
        const answer = await fetch(`${frontUrl}/v1/push`, { method: "POST", headers, body: body(`t${n}`) }).catch(
          () => undefined,
        );
        await answer?.arrayBuffer();
        if (answer?.ok) pushed.push({ id: `t${n++}`, at: performance.now() });
        await new Promise((done) => setTimeout(done, 20));
      }
    })(),
  );
  await until(() => pushed.length > 5 && typed(editors) > 20);
  const pull = async (cursor: unknown) => {
    const answer = await fetch(`${frontUrl}/v1/pull`, {
      method: "POST",
      headers,
      body: JSON.stringify({ app_id: "todo", cursor, page_size: 1000 }),
    });
    expect(answer.status).toBe(200);
    return (await answer.json()) as { changes: { id: string }[]; cursor: unknown };
  };
  const first = await pull(null);

  const moving = ["move", "--from", `pglite:${join(cwd, ".perch")}`, "--to", target.url as string];
  const began = performance.now();
  expect(await runPerch([...moving, "--copy-only"])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("copied"),
  });
  // Of the same work, but that nobody waits for it: it says how slow this machine is today. What else begins or ends may be as long again.
  const copiedMs = performance.now() - began;
  // It waits until there is something to serve.
  const serving = underWay(worker.start());
  await until(() => worker.output.includes("waiting"));
  const ended = await runPerch(moving);
  expect(ended, ended.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining("the same at both ends") });
  await serving;
  await until(() => source.ended);
  expect(source.output).toMatch(/this database was moved to 127\.0\.0\.1/);

  const there = pushed.length;
  const before = typed(editors);
  await until(() => pushed.length > there + 5 && typed(editors) > before + 20);
  pushing = false;
  await pusher;
  await stopEditing();
  await expectAllEqual(target.db, editors);
  await expectNothingLost(target.db, editors);
  const gaps = pushed.slice(1).map(({ at }, n) => at - (pushed[n]?.at ?? at));
  expect(Math.max(...gaps), "milliseconds without a push").toBeLessThan(Math.max(10_000, 2 * copiedMs));

  const rest = await pull(first.cursor);
  expect([...first.changes, ...rest.changes].map(({ id }) => id)).toEqual(pushed.map(({ id }) => id));
  const again = await perchProcess({ cwd, env });
  await expect(again.start()).rejects.toThrow(/was moved to .* set DATABASE_URL/s);
});
