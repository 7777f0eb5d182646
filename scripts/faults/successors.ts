/** Servers that take the place of one that was killed. */
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import {
  backUp,
  durable,
  type PostgresServer,
  type PostgresVersion,
  startPostgresServer,
} from "../../test/support/postgres-server.js";
import { freePort } from "../support/free-port.js";
import { until } from "./until.js";

/**
 * What takes the place of the server that was killed. synchronous, behind: its standby, which has all that was acknowledged, or not. restored: a
 * backup as it was made, which goes on as if nothing had been after it, on the same timeline. recovered: a backup, and the log up to a point.
 */
export type Successor = "synchronous" | "behind" | "restored" | "recovered";

/** Settings of each server, whichever place it takes. */
export const ofServers = {
  ...durable,
  max_connections: 100,
  checkpoint_timeout: "1h",
};

/** What is to take the place of a server. */
export interface Copy {
  /** From now on it gets nothing any more. */
  fallBehind(): Promise<void>;
  /** The server was killed: what the copy has, before anybody can write to it. */
  asItIs(): Promise<Database>;
  /** Takes connections, and writes. */
  serve(): Promise<PostgresServer>;
  end(): Promise<void>;
}

export const direct = (server: PostgresServer) =>
  openPostgres({ url: server.url(), poolSize: 3, onError: () => undefined });

export async function copyOf(
  primary: PostgresServer,
  db: Database,
  successor: Successor,
  own: { version: PostgresVersion; settings: Record<string, string | number>; port: number },
): Promise<Copy> {
  let server: PostgresServer | undefined;
  let ownDb: Database | undefined;
  const end = async () => {
    await ownDb?.close();
    await server?.close();
  };
  if (successor === "synchronous" || successor === "behind") {
    const standby = await startPostgresServer({ ...own, standbyOf: primary });
    server = standby;
    const standbyDb = direct(standby);
    ownDb = standbyDb;
    return {
      async fallBehind() {
        await standbyDb.query("alter system set primary_conninfo = ''");
        await standbyDb.query("select pg_reload_conf()");
        await until("the standby does not follow any more", async () => {
          const rows = await db.query("select from pg_stat_replication");
          return rows.length === 0;
        });
      },
      async asItIs() {
        await until("the standby has replayed what it has", async () => {
          const [row] = await standbyDb.query<{ done: boolean }>(
            "select pg_last_wal_replay_lsn() >= coalesce(pg_last_wal_receive_lsn(), '0/0') as done",
          );
          return row?.done ?? false;
        });
        return standbyDb;
      },
      async serve() {
        await standby.promote();
        return standby;
      },
      end,
    };
  }
  let backup = await backUp(primary, `${primary.data}-backup-${Date.now()}`);
  return {
    async fallBehind() {
      if (successor === "restored") return;
      await db.query("select pg_create_restore_point('wanted')");
      backup = { ...backup, upTo: "wanted" };
    },
    async asItIs() {
      // Where nobody looks for it yet.
      server = await startPostgresServer({ ...own, port: await freePort(), restored: backup });
      ownDb = direct(server);
      await until("it takes writes", async () => {
        const rows = await ownDb?.query<{ standby: boolean }>("select pg_is_in_recovery() as standby");
        return rows?.[0]?.standby === false;
      });
      return ownDb;
    },
    async serve() {
      const restored = server as PostgresServer;
      await ownDb?.close();
      await restored.stop();
      await restored.start(own.port);
      return restored;
    },
    end,
  };
}
