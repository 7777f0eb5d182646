import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { openDatabase } from "../../../src/database/open.js";
import { durable, startPostgresServer } from "../../../test/support/postgres-server.js";
import { freePort } from "../../support/free-port.js";
import { perchProcess } from "../../support/perch-process.js";
import type { kinds } from "./server.js";

export interface Servers {
  /** With a token for every room. */
  readonly perch: string;
  readonly perchPid: number;
  readonly reference: string;
  readonly hocuspocus: string;
  readonly relay: string;
  readonly broadcast: string;
  readonly bytes: string;
  readonly databaseUrl: string;
  stop(): Promise<void>;
}

/** A rival in a process of its own. */
async function start(kind: keyof typeof kinds, databaseUrl = ""): Promise<{ url: string; stop(): void }> {
  const port = await freePort();
  const child = fork(fileURLToPath(new URL("server.js", import.meta.url)), [kind, String(port), databaseUrl]);
  await new Promise<void>((resolve, reject) => {
    child.once("message", () => resolve());
    child.once("exit", (code) => reject(new Error(`${kind} ended with ${code}`)));
  });
  return { url: `ws://127.0.0.1:${port}/`, stop: () => child.kill() };
}

/** perch on Postgres 18 that writes everything through to disk, and what it is measured against. */
export async function startServers(): Promise<Servers> {
  const ends: (() => unknown)[] = [];
  const stop = async () => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    const postgres = await startPostgresServer({
      version: 18,
      settings: durable,
    });
    ends.push(() => postgres.close());
    // One user types everything here, from one address.
    const limits = {
      PERCH_MAX_SOCKETS_PER_USER: "0",
      PERCH_MAX_SOCKETS_PER_ADDRESS: "0",
      PERCH_MAX_HELD_BYTES_PER_USER: String(2 ** 40),
    };
    const perch = await perchProcess({ env: { DATABASE_URL: postgres.url(), ...limits } });
    ends.push(() => perch.stop());
    await perch.start();
    const db = await openDatabase(postgres.url());
    await db.query("select perch.declare_table(app_id => 'bench', table_name => 'notes', fields => $1::jsonb)", [
      JSON.stringify({ body: "text" }),
    ]);
    await db.close();
    const rival = async (kind: keyof typeof kinds, databaseUrl?: string) => {
      const { url, stop } = await start(kind, databaseUrl);
      ends.push(stop);
      return url;
    };
    return {
      perch: `${perch.url}?token=typist`,
      perchPid: perch.pid ?? 0,
      reference: await rival("reference"),
      hocuspocus: await rival("hocuspocus", postgres.url()),
      relay: await rival("relay"),
      broadcast: await rival("broadcast"),
      bytes: await rival("bytes"),
      databaseUrl: postgres.url(),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
