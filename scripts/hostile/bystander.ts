import { LoroDoc } from "loro-crdt";
import { roomClient } from "../../test/hostile/client.js";
import { quantile } from "../support/figures.js";
import { userToken } from "../support/user-token.js";

/** Somebody with spaces of their own, who is to notice nothing of what is done to the node. */
export interface Bystander {
  /** p99 in milliseconds of each kind of work since the last call, by name. */
  lap(): Record<string, number>;
  /** Stops; says what of the work was refused or is not there in the end. */
  stop(): Promise<string[]>;
}

const everyMs = 50;
const app = "faults";

export async function startBystander(httpUrl: string, wsUrl: string, user = "bystander"): Promise<Bystander> {
  const headers = { authorization: `Bearer ${userToken(user)}` };
  const room = `/${app}/boards/own`;
  const client = await roomClient(wsUrl, room, userToken(user));
  await client.join();
  const doc = new LoroDoc();
  const timed = new Map<string, number[]>();
  const wrong: string[] = [];
  let letters = 0;
  let pushed = 0;
  let running = true;

  async function timing(name: string, work: () => Promise<unknown>): Promise<void> {
    const began = performance.now();
    await work();
    const took = performance.now() - began;
    const all = timed.get(name) ?? [];
    timed.set(name, all);
    all.push(took);
  }

  async function post(path: string, body: object): Promise<{ status: number; body: Record<string, unknown[]> }> {
    const response = await fetch(httpUrl + path, { method: "POST", headers, body: JSON.stringify(body) });
    return { status: response.status, body: (await response.json()) as Record<string, unknown[]> };
  }

  async function type(): Promise<void> {
    const from = doc.version();
    doc.getText("body").push("x");
    doc.commit();
    letters += 1;
    const status = await client.send(doc.export({ mode: "update", from }));
    if (status !== 0) wrong.push(`a letter was answered ${status}`);
  }

  async function push(): Promise<void> {
    const change = { op: "insert", table: "t", id: `own${pushed++}`, data: { n: pushed } };
    const { status, body } = await post("/v1/push", { app_id: app, client_id: user, changes: [change] });
    const [result] = (body.results ?? []) as { status: string }[];
    if (status !== 200 || result?.status !== "applied") wrong.push(`a push was answered ${status} ${result?.status}`);
  }

  async function pull(): Promise<void> {
    const { status } = await post("/v1/pull", { app_id: app, page_size: 1 });
    if (status !== 200) wrong.push(`a pull was answered ${status}`);
  }

  async function loop(name: string, work: () => Promise<void>): Promise<void> {
    while (running) {
      await timing(name, work).catch((error: unknown) => wrong.push(`${name}: ${String(error)}`));
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  const loops = [loop("edit", type), loop("push", push), loop("pull", pull)];
  return {
    lap() {
      const figures = Object.fromEntries([...timed].map(([name, values]) => [name, quantile(values, 0.99)]));
      timed.clear();
      return figures;
    },
    async stop() {
      running = false;
      await Promise.all(loops);
      client.close();
      const reader = await roomClient(wsUrl, room, userToken(user));
      await reader.join();
      const read = new LoroDoc();
      const deadline = Date.now() + 20_000;
      while (read.getText("body").length < letters && Date.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        if (reader.received.length > 0) read.importBatch(reader.received.splice(0));
      }
      reader.close();
      if (read.getText("body").length !== letters) {
        wrong.push(`of ${letters} letters ${read.getText("body").length} are there`);
      }
      const { body } = await post("/v1/snapshot", { app_id: app, page_size: 10_000 });
      if (body.records?.length !== pushed + 1) {
        wrong.push(`of ${pushed} records and a document ${body.records?.length} are there`);
      }
      return [...new Set(wrong)];
    },
  };
}
