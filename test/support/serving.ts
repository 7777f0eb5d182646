import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { pino } from "pino";
import { openPostgres, type PostgresOptions } from "../../src/database/postgres.js";
import { defaultShares, type ShareOptions, shareConnections } from "../../src/database/shares.js";
import type { Database } from "../../src/database/types.js";
import { createLiveDocuments } from "../../src/documents/live.js";
import { startGateway } from "../../src/gateway/index.js";
import { gatewaySettings } from "../../src/gateway/settings.js";
import { startWorker } from "../../src/worker/index.js";
import { cleanup, officialClient, text } from "../gateway/support.js";
import { lendEngine } from "./engines.js";

export interface Serving {
  readonly url: string;
  readonly gateway: { readonly url: string };
  readonly db: Database;
  /** Out: the status, and the body as JSON. */
  call(
    user: string,
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; body: unknown; retry: string | null }>;
  push(user: string, id: string, spaceId?: string, data?: object): Promise<{ status: number; retry: string | null }>;
}

/** Worker and gateway of one process, with the connections shared as `perch start` does; ended after the test. */
export async function serving(
  options: PostgresOptions,
  shared: Partial<ShareOptions> = {},
  env: Record<string, string> = {},
): Promise<Serving> {
  const log = pino({ level: process.env.LOG_LEVEL ?? "silent" });
  const db = openPostgres({ onError: () => undefined, ...options });
  cleanup(() => db.close());
  const shares = shareConnections(db, { ...defaultShares, ...shared });
  const engine = lendEngine();
  cleanup(() => engine.close());
  const live = createLiveDocuments({ db: shares.reads, appendsDb: shares.appends, engine, log });
  cleanup(() => live.close());
  const worker = await startWorker({ db: shares.worker, live, log, contention: shares.contention });
  cleanup(() => worker.close());
  const settings = gatewaySettings({ PERCH_PORT: "0", ...env }, { development: true });
  const gateway = await startGateway({ db, shares, live, settings, log });
  cleanup(() => gateway.close());

  const call: Serving["call"] = async (user, method, path, body) => {
    const response = await fetch(gateway.url + path, {
      method,
      headers: { authorization: `Bearer ${user}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = await response.text();
    return {
      status: response.status,
      body: answer.startsWith("{") ? JSON.parse(answer) : answer,
      retry: response.headers.get("retry-after"),
    };
  };
  return {
    url: gateway.url.replace("http", "ws"),
    gateway,
    db,
    call,
    push(user, id, spaceId, data = { id }) {
      const change = { op: "insert", table: "tasks", id, data, ...(spaceId && { space_id: spaceId }) };
      return call(user, "POST", "/v1/push", { app_id: "app", client_id: "c", changes: [change] });
    },
  };
}

/** Somebody with a document open. */
export async function typist(node: { url: string }, user: string, roomId: string) {
  const doc = new LoroDoc();
  const client = officialClient(node, { token: user });
  await client.waitConnected();
  const adaptor = new LoroAdaptor(doc);
  const join = async () => (await client.join({ roomId, crdtAdaptor: adaptor, auth: text(user) })) as unknown;
  await join();
  return {
    doc,
    /** Types, and waits until the database has it. */
    async type(db: Database, letters: string): Promise<void> {
      const seq = async () => {
        const [row] = await db.aside.query<{ head_seq: number }>(
          "select coalesce(max(head_seq), 0) as head_seq from perch.documents where space_id = $1",
          [`~${user}`],
        );
        return row?.head_seq ?? 0;
      };
      const before = await seq();
      doc.getText("body").insert(0, letters);
      doc.commit();
      while ((await seq()) === before) await new Promise((done) => setTimeout(done, 3));
    },
  };
}

/** How long something takes, in milliseconds: the best of a few, since a loaded machine may be late. */
export async function bestOf(times: number, attempt: () => Promise<unknown>, enough = 0): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let n = 0; n < times && best > enough; n++) {
    const began = performance.now();
    await attempt();
    best = Math.min(best, performance.now() - began);
  }
  return best;
}
