import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { durable, type PostgresServer, startPostgresServer } from "../../test/support/postgres-server.js";
import { startTcpProxy, type TcpProxy } from "../../test/support/tcp-proxy.js";
import type { Place } from "../demo/document.js";
import { freePort } from "../support/free-port.js";
import { type PerchProcess, perchProcess } from "../support/perch-process.js";

/** One `perch worker`, kept running as a supervisor would, and its line to the database. */
export interface FaultNode {
  readonly process: PerchProcess;
  readonly line: TcpProxy;
  /** Starts it, again and again until it serves: at start it ends when the database does not answer. */
  start(): Promise<void>;
  /** Whether it is to be running. */
  wanted: boolean;
}

/** Several nodes on one Postgres, behind a proxy that spreads clients over them. */
export interface Cluster {
  readonly postgres: PostgresServer;
  readonly nodes: readonly FaultNode[];
  /** Where the clients connect. */
  readonly front: TcpProxy;
  readonly places: readonly Place[];
  readonly spaceId: string;
  /** Straight to the database, as superuser. */
  readonly db: Database;
  close(): Promise<void>;
}

export interface ClusterOptions {
  readonly nodes: number;
  readonly documents: number;
  /** Who may edit. */
  readonly users: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** For node itself, of each process. */
  readonly nodeArgs?: readonly string[];
  /** Whether the nodes reach the database without the lines that can be cut, for measurements. */
  readonly straight?: boolean;
}

/** Connections that break are what this is about. */
const ignore = () => undefined;

export async function startCluster({
  nodes: count,
  documents,
  users,
  env = {},
  nodeArgs = [],
  straight = false,
}: ClusterOptions): Promise<Cluster> {
  const ends: (() => Promise<unknown>)[] = [];
  const close = async () => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    const postgres = await startPostgresServer({
      settings: durable,
    });
    ends.push(() => postgres.close());
    const db = openPostgres({ url: postgres.url(), onError: ignore });
    ends.push(() => db.close());
    await migrate(db);
    await db.query("create role faulty login in role perch_worker, perch_app");
    const places = await declare(db, documents, users);

    const nodes: FaultNode[] = [];
    for (let n = 0; n < count; n++) {
      const line = await startTcpProxy({ port: postgres.port });
      ends.push(() => line.close());
      const url = `postgres://faulty@127.0.0.1:${straight ? postgres.port : line.port}/postgres`;
      const process = await perchProcess({
        args: ["worker"],
        nodeArgs,
        env: { ...env, DATABASE_URL: url },
        port: await freePort(),
      });
      ends.push(() => process.kill());
      nodes.push(supervised(process, line));
    }
    await Promise.all(nodes.map((node) => node.start()));
    const front = await startTcpProxy(nodes.map(({ process }) => ({ port: Number(new URL(process.httpUrl).port) })));
    ends.push(() => front.close());
    return { postgres, nodes, front, places, spaceId, db, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const spaceId = "team";

async function declare(db: Database, documents: number, users: readonly string[]): Promise<Place[]> {
  const fields = { title: "string", body: "text", entries: "list", marks: "map", votes: "counter" };
  await db.query("select perch.declare_table(app_id => 'faults', table_name => 'boards', fields => $1)", [
    JSON.stringify(fields),
  ]);
  await db.transaction(async (tx) => {
    await tx.query("select perch.set_context(user_id => 'owner')");
    await tx.query("select perch.create_space(space_id => $1)", [spaceId]);
    for (const user of users) {
      await tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => 'editor')", [spaceId, user]);
    }
  });
  return Array.from({ length: documents }, (_, n) => ({
    spaceId,
    appId: "faults",
    tableName: "boards",
    recordId: `b${n + 1}`,
  }));
}

const restartMs = 200;

function supervised(process: PerchProcess, line: TcpProxy): FaultNode {
  const node: FaultNode = {
    process,
    line,
    wanted: false,
    async start() {
      for (;;) {
        try {
          await process.start();
          node.wanted = true;
          return;
        } catch (error) {
          if (!process.ended) throw error;
          await new Promise((done) => setTimeout(done, restartMs));
        }
      }
    },
  };
  return node;
}
