import type pg from "pg";
import { createHosts, type Role, UnwantedServer } from "./hosts.js";
import { connectTimeoutMs } from "./postgres-connections.js";
import { readPostgresUrl } from "./postgres-url.js";

/**
 * Connects one client of the driver, to the first host of a URL that can be used.
 * In: what makes a client, of where it is to lead. Throws the driver's error, or NoHost.
 */
export async function connectClient(
  url: string,
  make: (place: Pick<pg.ClientConfig, "connectionString" | "connectionTimeoutMillis">) => pg.Client,
): Promise<pg.Client> {
  const address = readPostgresUrl(url);
  const hosts = createHosts(address);
  for (let attempt = 1; ; attempt++) {
    const host = hosts.next();
    const client = make({
      connectionString: host.url,
      connectionTimeoutMillis: address.connectTimeoutMs ?? connectTimeoutMs,
    });
    try {
      await client.connect();
      const objection = address.target === "any" ? undefined : hosts.unwanted(await roleOf(client));
      if (objection !== undefined)
        throw new UnwantedServer(`${objection}, and target_session_attrs is ${address.target}`);
      return client;
    } catch (error) {
      await client.end().catch(() => undefined);
      if (!hosts.passesOn(error)) throw error;
      hosts.failed(host, error);
      if (attempt >= hosts.attempts) throw hosts.error(error);
    }
  }
}

async function roleOf(client: pg.Client): Promise<Role> {
  const { rows } = await client.query<Record<string, unknown>>(
    "select pg_is_in_recovery()::int as standby, (current_setting('transaction_read_only') = 'on')::int as reads",
  );
  return { standby: Number(rows[0]?.standby) === 1, read_only: Number(rows[0]?.reads) === 1 };
}
