import { Database } from "@hocuspocus/extension-database";
import { Server } from "@hocuspocus/server";
import pg from "pg";

/** Hocuspocus as its guide sets it up: the Database extension keeps the state of each document in a row. */
export async function startHocuspocus(port: number, databaseUrl: string): Promise<void> {
  const pool = new pg.Pool({ connectionString: databaseUrl });
  await pool.query("create table if not exists hocuspocus_documents (name text primary key, data bytea not null)");
  const database = new Database({
    async fetch({ documentName }) {
      const { rows } = await pool.query("select data from hocuspocus_documents where name = $1", [documentName]);
      return rows[0]?.data ?? null;
    },
    async store({ documentName, state }) {
      await pool.query(
        "insert into hocuspocus_documents values ($1, $2) on conflict (name) do update set data = excluded.data",
        [documentName, state],
      );
    },
  });
  const server = new Server({ address: "127.0.0.1", port, quiet: true, stopOnSignals: false, extensions: [database] });
  await server.listen();
}
