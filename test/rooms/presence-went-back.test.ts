import { pino } from "pino";
import { expect, it } from "vitest";
import { migrate } from "../../src/database/migrate.js";
import { openDatabase } from "../../src/database/open.js";
import type { Listener } from "../../src/notifications/hub.js";
import { createPresenceExchange } from "../../src/rooms/presence-exchange.js";
import { type PresenceAddress, putPresence } from "../../src/rooms/presence-queries.js";
import { cleanup } from "../gateway/support.js";
import { startPostgresServer } from "../support/postgres-server.js";
import { until } from "../support/until.js";

const room: PresenceAddress = {
  key: { spaceId: "team", appId: "app", tableName: "notes", recordId: "p1" },
  kind: "ephemeral",
};

it("presence of which a database that went back gives the numbers out again reaches the other nodes all the same", async () => {
  const server = await startPostgresServer();
  cleanup(() => server.close());
  const db = await openDatabase({ url: server.url() });
  cleanup(() => db.close());
  await migrate(db);
  const put = (key: string) => {
    const entry = {
      key,
      bytes: Buffer.from(key),
      setAt: Date.now(),
      userId: null,
      broughtBy: null,
      keepMs: 600_000,
      heldMs: 0,
    };
    return putPresence(db, "00000000-0000-4000-8000-000000000001", [{ room, entry }], 2 ** 20);
  };

  // What the node hears of is said here, and no connection of its own tells it that the server was away.
  const listeners = new Set<Listener>();
  const notified = (seq: number) => {
    for (const listener of listeners) listener.notified?.({ channel: "perch_presence", seq, node: false });
  };
  const arrived: string[] = [];
  const exchange = createPresenceExchange({
    db,
    notifications: {
      add(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    log: pino({ level: "silent" }),
    intervalMs: 10,
    maxUserBytes: 2 ** 20,
    on: {
      arrived: (_, entries) => void arrived.push(...entries.map(({ key }) => key)),
      othersCame: () => undefined,
      beat: () => undefined,
    },
  });
  cleanup(() => exchange.close());
  await exchange.load(room);

  await put("a");
  const kept = await db.query<{ rows: string; change_id: number }>(
    "select (select json_agg(p)::text from perch.presence p) as rows, h.change_id from perch.presence_head h",
  );
  for (const key of ["b", "c"]) await put(key);
  notified(3);
  await until(() => arrived.length === 3);

  await db.query("delete from perch.presence");
  await db.query("insert into perch.presence select * from json_populate_recordset(null::perch.presence, $1::json)", [
    kept[0]?.rows,
  ]);
  await db.query("update perch.presence_head set change_id = $1", [kept[0]?.change_id]);
  await server.kill();
  await server.start();
  for (const key of ["d", "e", "f"]) await put(key);
  notified(4);
  await until(() => arrived.includes("f"));
  expect(arrived).toEqual(expect.arrayContaining(["d", "e", "f"]));
});
