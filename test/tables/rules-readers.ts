/** Those who follow a table with rules, by each of the ways there are; what comes to them is kept, to be searched. */
import pg from "pg";
import { createPerchClient, createReplica, isLive } from "../../src/client/index.js";
import { cleanup, type Node } from "../gateway/support.js";
import type { Cursor, Page, Snapshot } from "../log/support.js";
import type { Reader, Row, World } from "./rules-world.js";

export interface Following {
  readonly reader: Reader;
  readonly how: string;
  /** By "space/id", of a shape by id. */
  held(): Map<string, Row>;
  /** Reads on. Out: whether it is at the end, as far as it can tell. */
  step(): Promise<boolean>;
  readonly isShape?: boolean;
}

/** Everything that was sent to one user, as text. */
export type Told = (user: string, text: string) => void;

/** Pulls by SQL, with small pages; begins with the log or with snapshots. */
export async function puller(
  url: string,
  world: World,
  reader: Reader,
  told: Told,
  pageSize: number,
): Promise<Following> {
  const client = new pg.Client({ connectionString: url });
  client.on("notice", (notice) => told(reader.user, JSON.stringify({ ...notice, message: notice.message })));
  await client.connect();
  cleanup(() => client.end());
  let cursor: Cursor = {};
  const rows = new Map<string, Row>();
  const drop = (space: string) => {
    for (const key of rows.keys()) if (key.startsWith(`${space}/`)) rows.delete(key);
  };

  async function call<T>(sql: string, params: unknown[]): Promise<T> {
    await client.query("begin; set local role perch_app");
    try {
      const lists = reader.lists && [reader.lists.readable, reader.lists.writable];
      await client.query("select perch.set_context($1, $2, $3)", [reader.user, ...(lists ?? [null, null])]);
      const { rows: answer } = await client.query(sql, params);
      await client.query("commit");
      told(reader.user, `pulled ${JSON.stringify(answer)}`);
      return answer[0].answer as T;
    } catch (error) {
      await client.query("rollback");
      const { message, detail, hint, where } = error as Record<string, string>;
      told(reader.user, [message, detail, hint, where].join("\n"));
      throw error;
    }
  }

  async function snapshot(space: string): Promise<void> {
    const found: Snapshot["records"] = [];
    for (let after: string | null = null; ; ) {
      const page: Snapshot = await call<Snapshot>(
        `select perch.snapshot_records('shop', $1, after => $2, page_size => $3, cursor => $4, tables => $5) as answer`,
        [space, after, pageSize, JSON.stringify(cursor), [world.table]],
      );
      found.push(...page.records);
      after = page.next;
      if (after !== null) continue;
      drop(space);
      for (const { id, data } of found) rows.set(`${space}/${id}`, data as Row);
      cursor = page.cursor;
      return;
    }
  }

  return {
    reader,
    how: `pull by ${pageSize}`,
    held: () => new Map(rows),
    async step() {
      try {
        const page = await call<Page>("select perch.pull('shop', $1::jsonb, page_size => $2, tables => $3) as answer", [
          JSON.stringify(cursor),
          pageSize,
          [world.table],
        ]);
        for (const space of page.revoked_space_ids) drop(space);
        for (const { space_id, op, id, data } of page.changes) {
          const key = `${space_id}/${id}`;
          if (op === "delete") rows.delete(key);
          else rows.set(key, { ...(op === "update" && rows.get(key)), ...data });
        }
        cursor = page.cursor;
        return !page.has_more;
      } catch (error) {
        const { code, detail } = error as { code?: string; detail?: string };
        // The rules were changed while it was read.
        if (code === "40001") return false;
        if (code !== "PE410") throw error;
        for (const { space_id } of JSON.parse(detail ?? "").spaces) {
          await snapshot(space_id).catch((lost: { code?: string }) => {
            if (lost.code !== "PE403" && lost.code !== "PE410") throw lost;
          });
        }
        return false;
      }
    },
  };
}

/** The published client on a stream. */
export function streaming(node: Node, world: World, reader: Reader, told: Told, pageSize: number): Following {
  const replica = createReplica();
  const keep: typeof fetch = async (input, init) => {
    const response = await fetch(input, init);
    const [kept, given] = response.body?.tee() ?? [];
    void (async () => {
      const decoder = new TextDecoder();
      for await (const part of kept ?? [])
        told(reader.user, `streamed ${decoder.decode(part as Uint8Array, { stream: true })}`);
    })().catch(() => undefined);
    return new Response(given ?? null, { status: response.status, headers: response.headers });
  };
  const client = createPerchClient({ url: node.gateway.url, token: reader.user, fetch: keep });
  const following = client.follow({ appId: "shop", tables: [world.table], pageSize });
  const errors: unknown[] = [];
  (async () => {
    for await (const event of following) replica.apply(event);
  })().catch((error) => errors.push(error));
  cleanup(() => following.return?.());
  return {
    reader,
    how: "stream",
    held: () =>
      new Map(
        [...replica.records.values()]
          .filter(isLive)
          .map(({ space_id, id, data }) => [`${space_id}/${id}`, { ...data }]),
      ),
    async step() {
      if (errors.length > 0) throw errors[0];
      await new Promise((done) => setTimeout(done, 10));
      return true;
    },
  };
}

/** A shape of the whole table, read request by request. */
export function shape(
  node: Node,
  world: World,
  reader: Reader,
  told: Told,
  more: Record<string, string>,
  head: () => Promise<bigint>,
): Following {
  const rows = new Map<string, Row>();
  let [offset, handle] = ["-1", ""];
  return {
    reader,
    how: `shape ${JSON.stringify(more)}`,
    isShape: true,
    held: () => new Map(rows),
    async step() {
      const upto = await head();
      const query = new URLSearchParams({ table: world.relation, ...more, offset, ...(handle && { handle }) });
      const response = await fetch(`${node.gateway.url}/v1/shape?${query}`, {
        headers: { authorization: `Bearer ${reader.user}` },
      });
      const body = await response.text();
      told(reader.user, `shape ${JSON.stringify(more)} ${query} ${body} ${JSON.stringify([...response.headers])}`);
      // The node has much to do.
      if (response.status === 503) return false;
      if (response.status === 409) {
        rows.clear();
        [offset, handle] = ["-1", ""];
        return false;
      }
      if (response.status !== 200) throw new Error(`${response.status} ${body}`);
      for (const { key, value, headers } of JSON.parse(body)) {
        const id = String(key).split('"')[5] ?? "";
        if (headers.operation === "delete") rows.delete(id);
        else if (headers.operation !== undefined) rows.set(id, { ...rows.get(id), ...value });
      }
      offset = response.headers.get("electric-offset") ?? offset;
      handle = response.headers.get("electric-handle") ?? handle;
      return response.headers.has("electric-up-to-date") && BigInt(offset.split("_")[0] ?? 0) >= upto;
    },
  };
}
