/** Three nodes behind a load balancer that knows nothing of its clients: nodes are killed, and restarted one after the other. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Editor } from "../../scripts/faults/editor.js";
import { type PerchProcess, perchProcess } from "../../scripts/support/perch-process.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";
import {
  acknowledged,
  asLogin,
  expectAllEqual,
  expectNothingLost,
  keepEditing,
  openEditors,
  prepare,
  readiness,
  typed,
  until,
} from "./support.js";

const users = Array.from({ length: 12 }, (_, n) => `roll${n}`);

describe("three nodes behind a proxy without stickiness", () => {
  const open = postgres();
  let t: TestDatabase;
  let nodes: PerchProcess[] = [];
  let front: TcpProxy;
  let editors: Editor[] = [];
  let stop: () => Promise<void> = async () => undefined;

  beforeAll(async () => {
    t = await open();
    const login = await prepare(t.db, users);
    const env = { DATABASE_URL: asLogin(t.url ?? "", login) };
    nodes = await Promise.all([1, 2, 3].map(() => perchProcess({ args: ["worker"], env })));
    await Promise.all(nodes.map((node) => node.start()));
    front = await startTcpProxy(nodes.map(({ httpUrl }) => ({ port: Number(new URL(httpUrl).port) })));
  });

  afterEach(async () => {
    await stop();
    for (const editor of editors) editor.close();
  });

  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.kill()));
    await front?.close();
  });

  async function begin(who: readonly string[]): Promise<void> {
    editors = await openEditors(`ws://127.0.0.1:${front.port}/sync`, who);
    stop = keepEditing(editors, 50);
    await until(() => acknowledged(editors) > 30, "edits are acknowledged");
  }

  async function expectNoEditDropped(): Promise<void> {
    await stop();
    await until(() => acknowledged(editors) === typed(editors), "everything is acknowledged");
    await expectNothingLost(t.db, editors);
    await expectAllEqual(t.db, editors);
  }

  const progress = async () => {
    const before = acknowledged(editors);
    await until(() => acknowledged(editors) > before + 20, "edits are acknowledged");
  };

  it("an edit on one reaches the clients of the others", async () => {
    await begin(users.slice(0, 6));
    const carried = await Promise.all(
      nodes.map(async ({ httpUrl }) => {
        const metrics = await (await fetch(`${httpUrl}/metrics`)).text();
        return Number(/^perch_sockets(?:\{\})? (\d+)$/m.exec(metrics)?.[1]);
      }),
    );
    expect(carried).toEqual([2, 2, 2]);
    await expectNoEditDropped();
  });

  it("a node killed in the middle of typing loses nothing acknowledged, and its clients go on with another", async () => {
    await begin(users.slice(6, 9));
    for (const node of nodes.slice(1)) {
      const others = nodes.filter((other) => other !== node);
      await node.kill();
      await expectNothingLost(t.db, editors);
      await progress();
      for (const { httpUrl } of others) expect((await readiness(httpUrl)).status).toBe(200);
      await node.start();
    }
    await expectNoEditDropped();
  });

  it("a rolling restart under load drops no edit, and clients are told to come back at once", async () => {
    await begin(users.slice(9, 12));
    for (const node of nodes) {
      await node.stop();
      await progress();
      await node.start();
    }
    await expectNoEditDropped();
    const codes = new Set(editors.flatMap(({ closes }) => [...closes.keys()]));
    // Every one of these makes the published client come back by itself.
    expect([...codes].filter((code) => ![1001, 1006, 1012, 1013].includes(code))).toEqual([]);
    expect(codes).toContain(1012);
  });
});
