import pg from "pg";

/** A cluster of Citus, as its superuser sees it. */
export interface Cluster {
  readonly url: string;
  readonly version: string;
  /** The same database on each worker node. */
  readonly workerUrls: readonly string[];
  /** On the coordinator. */
  query<Row extends pg.QueryResultRow>(sql: string, params?: unknown[]): Promise<Row[]>;
  /** On a node, by a connection of its own. */
  on(url: string, sql: string): Promise<void>;
  close(): Promise<void>;
}

/** Errors: when the URL is no coordinator of Citus with workers, or the database has a perch already. */
export async function openCluster(url: string): Promise<Cluster> {
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  // One that is idle when its node restarts is not needed any more.
  pool.on("error", () => undefined);
  const query = async <Row extends pg.QueryResultRow>(sql: string, params?: unknown[]) =>
    (await pool.query<Row>(sql, params)).rows;
  const [found] = await query<{ citus: string | null; perch: boolean }>(
    `select (select extversion from pg_extension where extname = 'citus') as citus,
            exists (select from pg_namespace where nspname = 'perch') as perch`,
  );
  if (!found?.citus) throw new Error("this database has no Citus: create extension citus, and add its nodes");
  if (found.perch) throw new Error("this database has a schema perch already: give an empty one");
  const workers = await query<{ host: string; port: number }>(
    "select nodename as host, nodeport as port from pg_dist_node where groupid <> 0 and isactive order by nodeid",
  );
  if (workers.length < 2) throw new Error("there are fewer than two worker nodes: select citus_add_node(…)");
  return {
    url,
    version: found.citus,
    workerUrls: workers.map(({ host, port }) => {
      const node = new URL(url);
      node.hostname = host;
      node.port = String(port);
      return node.href;
    }),
    query,
    async on(node, sql) {
      const client = new pg.Client({ connectionString: node });
      await client.connect();
      try {
        await client.query(sql);
      } finally {
        await client.end();
      }
    },
    close: () => pool.end(),
  };
}
