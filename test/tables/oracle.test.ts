import { expect, it } from "vitest";
import { isPassing } from "../../src/database/errors.js";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database, Transaction } from "../../src/database/types.js";
import { cleanup } from "../documents/live/support.js";
import { type Entry, pull } from "../log/support.js";
import { describeSomePostgres, type TestDatabase } from "../support/databases.js";
import { type PostgresServer, startPostgresServer } from "../support/postgres-server.js";
import { until as eventually, pause as pauseFor } from "../support/until.js";
import { startWorkerNode, type WorkerNode } from "../worker/support.js";
import { sequence, syncTable } from "./support.js";

const spaces = ["red", "blue"] as const;
/** Rows among which amounts are moved, within a space; rows that move between spaces; rows that come and go. */
const fixed = [1, 2, 3, 4, 5, 6];
const moving = [11, 12, 13, 14];
const passing = [21, 22, 23, 24];
const writers = 24;
const durationMs = 4_000;
const crashingMs = Number(process.env.PERCH_ORACLE_MS ?? 8_000);

interface Item {
  id: number;
  team: string;
  n: number;
  amount: number;
  seen_id: number | null;
  seen: number | null;
  label?: string | null;
}

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;
const pause = (tx: Transaction) => tx.query("select pg_sleep($1)", [Math.random() < 0.7 ? 0 : Math.random() / 50]);

/** What a writer does in one transaction. Every change of a row adds one to its n. */
const deeds: ((tx: Transaction) => Promise<unknown>)[] = [
  // Moves an amount: nobody may see the one half without the other.
  async (tx) => {
    const [from, to] = [pick(fixed), pick(fixed)].sort((a, b) => a - b) as [number, number];
    if (from === to) return;
    const rows = await tx.query<{ team: string }>(
      "select team from items where id in ($1, $2) order by id for update",
      [from, to],
    );
    if (rows[0]?.team !== rows[1]?.team) return;
    const amount = Math.floor(Math.random() * 10) - 5;
    await tx.query("update items set amount = amount - $2, n = n + 1 where id = $1", [from, amount]);
    await pause(tx);
    await tx.query("update items set amount = amount + $2, n = n + 1 where id = $1", [to, amount]);
  },
  // Notes how far another row has come: nobody may see the note and not yet that.
  async (tx) => {
    const [of, by] = [pick(fixed), pick(fixed)];
    await pause(tx);
    await tx.query(
      "update items set n = n + 1, seen_id = $1, seen = (select s.n from items s where s.id = $1) where id = $2 and id <> $1",
      [of, by],
    );
  },
  (tx) =>
    tx.query("update items set n = n + 1, team = case when random() < 0.2 then null else $2 end where id = $1", [
      pick(moving),
      pick(spaces),
    ]),
  async (tx) => {
    const id = pick(passing);
    const gone = await tx.query("delete from items where id = $1 returning id", [id]);
    await pause(tx);
    if (gone.length === 0 || Math.random() < 0.5) {
      await tx.query(
        "insert into items (id, team, n, amount) values ($1, $2, 0, 0) on conflict (id) do update set n = items.n + 1",
        [id, pick(spaces)],
      );
    }
  },
  (tx) => tx.query("update items set n = n + 1 where id = any ($1)", [fixed]),
  async (tx) => {
    await tx.script("savepoint s");
    await tx.query("update items set amount = amount + 100, n = n + 7 where id = $1", [pick(fixed)]);
    await tx.script("rollback to s");
  },
  // Plain records go into the same logs.
  async (tx) => {
    await tx.query("select perch.set_context('ann', '{red,blue}', '{red,blue}')");
    await tx.query("select perch.push('shop', $1::jsonb, 'phone')", [
      JSON.stringify(spaces.map((space_id) => ({ op: "insert", table: "notes", id: String(Math.random()), space_id }))),
    ]);
    await pause(tx);
  },
];

/** What comes besides, into the same spaces: rows that are pushed, rows that are copied, and documents. */
const otherDeeds: typeof deeds = [
  async (tx) => {
    await tx.query("select perch.set_context('ann', '{red,blue}', '{red,blue}')");
    // Which space a row is in is only known when it is written: where it is not in this one, that change is refused.
    const changes = [pick(fixed), pick(moving)].map((id) => ({
      op: "update",
      table: "items",
      id: String(id),
      space_id: pick(spaces),
      data: { label: String(Math.random()) },
    }));
    const [row] = await tx.query<{ answer: { results: { status: string; error?: { code: string } }[] } }>(
      "select perch.push('shop', $1::jsonb, 'phone') as answer",
      [JSON.stringify(changes)],
    );
    for (const { error } of row?.answer.results ?? []) expect(error?.code ?? "PE404").toBe("PE404");
    await pause(tx);
  },
  (tx) => {
    const id = 1_000 + Math.floor(Math.random() * 1e9);
    return tx.query(
      `copy items (id, team, n, amount) from program 'printf "${id}\\tred\\t0\\t0\\n${-id}\\tblue\\t0\\t0\\n"'`,
    );
  },
  async (tx) => {
    await tx.query("select perch.set_context('ann', '{red,blue}', '{red,blue}')");
    await tx.query("select perch.patch_document('shop', 'pages', $1, $2::jsonb, space_id => $3)", [
      String(pick([1, 2, 3])),
      JSON.stringify({ body: "word ".repeat(1 + Math.random() * 10) }),
      pick(spaces),
    ]);
    await pause(tx);
  },
];

async function write(
  db: Database,
  until: number,
  deeds: readonly ((tx: Transaction) => Promise<unknown>)[],
): Promise<number> {
  const undone = new Error("rolled back");
  let committed = 0;
  // Each some, however slow this machine is.
  while (Date.now() < until || committed < 2) {
    try {
      await db.transaction(async (tx) => {
        for (let count = 1 + Math.floor(Math.random() * 2); count > 0; count--) await pick(deeds)(tx);
        await pause(tx);
        if (Math.random() < 0.15) throw undone;
      });
      committed++;
    } catch (error) {
      if (error === undone) continue;
      // A deadlock between two of these is the app's own, and ends one of them, whole. A crash ends all, and nobody knows how.
      if (!isPassing(error)) throw error;
      await pauseFor(20);
    }
  }
  return committed;
}

/** A follower of both spaces, which looks at everything that it is given and at what it holds behind every page. */
class Watcher {
  readonly held = { red: new Map<number, Item>(), blue: new Map<number, Item>() };
  readonly latest = new Map<string, number>();
  readonly totals: Record<string, number> = {};
  cursor = {};
  pages = 0;

  readonly records = new Map<string, Record<string, unknown>>();

  apply(entry: Entry): void {
    if (entry.table !== "items") {
      const key = `${entry.space_id}/${entry.table}/${entry.id}`;
      this.records.set(key, { ...this.records.get(key), ...entry.data });
      return;
    }
    const space = entry.space_id as "red" | "blue";
    const items = this.held[space];
    const id = Number(entry.id);
    const before = items.get(id);
    if (entry.op === "delete") {
      expect(before, `deleted ${space}/${id} is there`).toBeDefined();
      items.delete(id);
      return;
    }
    expect(before === undefined, `${entry.op} of ${space}/${id}`).toBe(entry.op === "insert");
    const item = { ...before, ...entry.data } as Item;
    // Nothing is lost, doubled or turned round: each change of a row goes on from the one before.
    if (before !== undefined) expect(item.n, `${space}/${id}`).toBe(before.n + 1);
    items.set(id, item);
  }

  check(): void {
    for (const space of spaces) {
      const items = this.held[space];
      const amounts = fixed.flatMap((id) => items.get(id)?.amount ?? []);
      if (amounts.length === 3) {
        const total = amounts.reduce((sum, amount) => sum + amount, 0);
        this.totals[space] ??= total;
        expect(total, `the amounts in ${space} add up`).toBe(this.totals[space]);
      }
      for (const item of items.values()) {
        const seen = item.seen_id === null ? undefined : items.get(item.seen_id);
        if (seen !== undefined)
          expect(seen.n, `what ${item.id} saw of ${seen.id}`).toBeGreaterThanOrEqual(item.seen ?? 0);
      }
    }
  }

  async step(db: Database, pageSize: number): Promise<boolean> {
    const page = await db.transaction(async (tx) => {
      await tx.query("select perch.set_context('bob', '{red,blue}')");
      return pull(tx, { appId: "shop", cursor: this.cursor, pageSize });
    });
    for (const entry of page.changes) this.apply(entry);
    this.check();
    this.cursor = page.cursor;
    this.pages++;
    return page.has_more;
  }
}

describeSomePostgres("the order of captured changes", (open) => {
  it(`is that of the commits, for ${writers} writers with pauses, rollbacks and conflicts`, async () => {
    const t = await open();
    await t.db.query("create table items (id int primary key, team text, n int, amount int, seen_id int, seen int)");
    await syncTable(t.db, "items", "space_column => 'team'");
    await t.db.query(
      `insert into items select id, case when id % 2 = 0 then 'red' else 'blue' end, 0, 100 from unnest($1::int[]) id`,
      [[...fixed, ...moving, ...passing]],
    );
    const pools = await Promise.all(Array.from({ length: Math.ceil(writers / 8) }, () => t.connect()));
    const until = Date.now() + durationMs;
    let writing = true;
    const busy = Array.from({ length: writers }, (_, nth) =>
      write(pools[nth % pools.length] as Database, until, deeds),
    );
    const sequencing = [t.db, t.db].map(async (db) => {
      for (let moved = 1; writing || moved > 0; ) {
        const [row] = await db.query<{ moved: number }>("select perch.sequence_changes(max_count => 50) as moved");
        moved = row?.moved ?? 0;
        await new Promise((done) => setTimeout(done, Math.random() * 10));
      }
    });
    const watchers = [1, 3, 1000].map((pageSize) => ({ watcher: new Watcher(), pageSize }));
    const watching = watchers.map(async ({ watcher, pageSize }) => {
      while (writing) await watcher.step(t.db, pageSize);
    });
    const committed = (await Promise.all(busy)).reduce((sum, count) => sum + count, 0);
    writing = false;
    await Promise.all([...sequencing, ...watching]);
    // Who finds another one at it leaves it to that.
    await sequence(t.db);
    expect(committed).toBeGreaterThan(20);
    const items = await t.db.query<Item>("select * from items order by id");
    expect(await t.db.query("select count(*) as count from perch.captured_changes")).toEqual([{ count: 0 }]);
    for (const { watcher, pageSize } of watchers) {
      while (await watcher.step(t.db, pageSize));
      for (const space of spaces) {
        const there = items.filter(({ team }) => team === space);
        expect([...watcher.held[space].values()].sort((a, b) => a.id - b.id)).toEqual(there);
      }
    }
    // Numbers without gaps, and one order over all spaces.
    expect(
      await t.db.query(
        `select (select count(*) from (
                   select seq - lag(seq, 1, 0::bigint) over (partition by space_id order by seq) as gap from perch.sync_changes) s
                  where gap <> 1) as gaps,
                (select count(*) from (
                   select position - lag(position) over (partition by space_id order by seq) as step from perch.sync_changes
                    where position is not null) s
                  where step < 0) as back`,
      ),
    ).toEqual([{ gaps: 0, back: 0 }]);
  });

  it("is not held up by a transaction that is left open, nor a space by another whose counter somebody holds", async () => {
    const t = await open();
    await t.db.query("create table items (id int primary key, team text)");
    await syncTable(t.db, "items", "space_column => 'team'");
    const other = await t.connect();
    const numbered = async () => {
      for (let idle = 0; idle < 2; ) {
        const [row] = await other.query<{ moved: number }>("select perch.sequence_changes() as moved");
        idle = row?.moved === 0 ? idle + 1 : 0;
      }
      return other.query(
        "select space_id, array_agg(record_id order by seq) as ids from perch.sync_changes where table_name = 'items' group by space_id order by space_id",
      );
    };
    await t.db.transaction(async (tx) => {
      await tx.query("insert into items values (1, 'red')");
      await other.query("insert into items values (2, 'red'), (3, 'blue')");
      expect(await numbered()).toEqual([
        { space_id: "blue", ids: ["3"] },
        { space_id: "red", ids: ["2"] },
      ]);
      await tx.query("select from perch.space_heads where space_id = 'red' for no key update");
      await other.query("insert into items values (4, 'red'), (5, 'blue')");
      await other.query("insert into items values (6, 'red'), (7, 'blue')");
      expect(await numbered()).toEqual([
        { space_id: "blue", ids: ["3", "5", "7"] },
        { space_id: "red", ids: ["2"] },
      ]);
      await other.query("insert into items values (8, 'red')");
    });
    expect(await numbered()).toEqual([
      { space_id: "blue", ids: ["3", "5", "7"] },
      { space_id: "red", ids: ["2", "4", "6", "1", "8"] },
    ]);
  });

  it("deletes a row that moved before it inserts it, wherever the lines of held spaces are cut", async () => {
    const t = await open();
    await t.db.query("create table items (id int primary key, team text)");
    await syncTable(t.db, "items", "space_column => 'team'");
    await t.db.query("insert into items values (1, 'red'), (2, 'red'), (3, 'blue')");
    await sequence(t.db);
    const other = await t.connect();
    const inTurns = () => other.query("select perch.sequence_changes(max_count => 1)");
    const whileRedIsHeld = (work: () => Promise<unknown>) =>
      t.db.transaction(async (tx) => {
        await tx.query("select from perch.space_heads where space_id = 'red' for no key update");
        await work();
      });
    // In the lines of both spaces.
    await whileRedIsHeld(async () => {
      await other.query("update items set team = 'blue' where id = 1");
      await inTurns();
    });
    await inTurns();
    // In a line that is left, and in a space that is free.
    await whileRedIsHeld(async () => {
      for (const id of [4, 5, 6]) {
        await other.query("insert into items values ($1, 'red')", [id]);
        await inTurns();
      }
    });
    await other.query("update items set team = 'blue' where id = 2");
    await inTurns();
    await sequence(other);
    const moves = await other.query<{ moves: string[] }>(
      `select array_agg(op || ' ' || space_id order by position) as moves from perch.sync_changes
        where record_id in ('1', '2') group by record_id`,
    );
    const moved = { moves: ["insert red", "delete red", "insert blue"] };
    expect(moves).toEqual([moved, moved]);
  });
});

/** A migrated database on a server of its own, which may be killed. */
async function ownServer(): Promise<{ server: PostgresServer; t: TestDatabase }> {
  // It is killed, and what was committed has to be there then.
  const server = await startPostgresServer({ settings: { synchronous_commit: "on" } });
  cleanup(() => server.close());
  const connect = async (user?: string) => {
    const url = new URL(server.url());
    if (user !== undefined) url.username = user;
    const opened = openPostgres({ url: url.href, onError: () => undefined });
    cleanup(() => opened.close());
    return opened;
  };
  const db = await connect();
  await migrate(db);
  await db.transaction((tx) => tx.script("create role a_worker login; grant perch_worker to a_worker;"));
  const t: Partial<TestDatabase> = {
    db,
    url: server.url(),
    connect: () => connect(),
    login: () => connect("a_worker"),
  };
  return { server, t: t as TestDatabase };
}

/** Documents in columns, in the same spaces: statements that overwrite what they have seen, and patches. */
const sheets = [1, 2, 3, 4];
const documentDeeds: typeof deeds = [
  async (tx) => {
    await tx.query("update sheets set body = body || $2, n = n + 1 where id = $1", [
      pick(sheets),
      pick(["a", "b", "c "]),
    ]);
    await pause(tx);
  },
  async (tx) => {
    await tx.query("select perch.set_context('ann', '{red,blue}', '{red,blue}')");
    const id = pick(sheets);
    await tx.query("select perch.patch_document('shop', 'sheets', $1, $2::jsonb, space_id => $3)", [
      String(id),
      JSON.stringify({ body: "line ".repeat(Math.random() * 5) }),
      id % 2 === 0 ? "red" : "blue",
    ]);
    await pause(tx);
  },
];

it("the order of captured changes is that of the commits for 40 writers, pushes and documents, while workers come and go and the database crashes", {
  timeout: 180_000,
}, async () => {
  const { server, t } = await ownServer();
  await t.db.transaction((tx) =>
    tx.script(`
      create table items (id int primary key, team text, n int, amount int, seen_id int, seen int, label text);
      create function count_push() returns trigger language plpgsql as $$ begin new.n := old.n + 1; return new; end $$;
      create trigger count_push before update of label on items for each row execute function count_push();
      create table sheets (id int primary key, team text, n int not null, body text not null);
      select perch.declare_table('shop', 'pages', '{"body": "text"}');`),
  );
  await syncTable(t.db, "items", "space_column => 'team', writable_columns => '{label}'");
  await syncTable(t.db, "sheets", `space_column => 'team', documents => '{"body": "text"}'`);
  await t.db.query(
    `insert into items select id, case when id % 2 = 0 then 'red' else 'blue' end, 0, 100 from unnest($1::int[]) id`,
    [[...fixed, ...moving, ...passing]],
  );
  await t.db.query(
    `insert into sheets select id, case when id % 2 = 0 then 'red' else 'blue' end, 0, '' from unnest($1::int[]) id`,
    [sheets],
  );
  const pools = await Promise.all(Array.from({ length: 5 }, () => t.connect()));
  const until = Date.now() + crashingMs;
  let writing = true;
  const busy = Array.from({ length: 40 }, (_, nth) =>
    write(pools[nth % pools.length] as Database, until, [...deeds, ...otherDeeds, ...documentDeeds]),
  );
  const watchers = [1, 7, 1000].map((pageSize) => ({ watcher: new Watcher(), pageSize }));
  const watching = watchers.map(async ({ watcher, pageSize }) => {
    while (writing) await patiently(() => watcher.step(t.db, pageSize));
  });
  // Two, one that is new, none (whoever pulls sequences), two again; in between every process of the database is killed.
  let workers: WorkerNode[] = [];
  let crashes = 0;
  const changing = (async () => {
    for (const count of [2, 1, 0, 2]) {
      const before = workers;
      workers = await patiently(() => Promise.all(Array.from({ length: count }, () => startWorkerNode(t))));
      await Promise.all(before.map(({ worker }) => worker.close()));
      await pauseFor(crashingMs / 8);
      if (count !== 1) {
        await server.kill();
        await server.start();
        crashes += 1;
      }
      await pauseFor(crashingMs / 8);
    }
  })();
  const committed = (await Promise.all(busy)).reduce((sum, count) => sum + count, 0);
  await changing;
  writing = false;
  await Promise.all(watching);
  expect(committed).toBeGreaterThan(40);
  expect(crashes).toBe(3);
  // The workers that are there finish what is left.
  await eventually(async () => {
    const [left] = await t.db.query<{ captured: number; inbox: number; queue: number; writes: number }>(
      `select (select count(*) from perch.captured_changes) as captured,
              (select count(*) from perch.document_inbox where status = 'pending') as inbox,
              (select count(*) from perch.column_writes where placed is null) as writes,
              (select count(*) from perch.document_queue) as queue`,
    );
    return left?.captured === 0 && left.inbox === 0 && left.queue === 0 && left.writes === 0;
  });
  const items = await t.db.query<Item>("select * from items order by id");
  const records = await t.db.query<{ key: string; data: Record<string, unknown> }>(
    `select space_id || '/' || table_name || '/' || record_id as key, data from perch.records
     union all select team || '/sheets/' || id, to_jsonb(s) from sheets s order by 1`,
  );
  expect(records.filter(({ key }) => key.includes("/pages/")).length).toBeGreaterThan(0);
  for (const { watcher, pageSize } of watchers) {
    while (await watcher.step(t.db, pageSize));
    for (const space of spaces) {
      const there = items.filter(({ team }) => team === space);
      expect([...watcher.held[space].values()].sort((a, b) => a.id - b.id)).toEqual(there);
    }
    expect(Object.fromEntries(watcher.records)).toEqual(
      Object.fromEntries(records.map(({ key, data }) => [key, data])),
    );
  }
});

/** Again, as long as nobody answers. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isPassing(error)) throw error;
      await pauseFor(50);
    }
  }
}
