import { randomInt } from "node:crypto";
import pg from "pg";
import { expect, it } from "vitest";
import { type PerchProcess, perchProcess } from "../../scripts/support/perch-process.js";
import { cleanup } from "../support/cleanup.js";
import { type PostgresServer, startPostgresServer } from "../support/postgres-server.js";
import { until } from "../support/until.js";
import { type Chance, chanceOf } from "./shapes/random.js";
import { type Follower, following, polling, type Row } from "./shapes/readers.js";
import { type Rights, type Rules, randomWorld } from "./shapes/world.js";

/** How many worlds; and the seed of the first, the next ones come behind it. */
const runs = Number(process.env.PERCH_SHAPES_RUNS ?? 1);
const seed = Number(process.env.PERCH_SHAPES_SEED ?? randomInt(2 ** 31));
const rounds = 3;
const writers = 3;
const roundMs = 1_500;

/** As the protocol writes values. */
const asText =
  "-c timezone=UTC -c datestyle=ISO,MDY -c intervalstyle=iso_8601 -c bytea_output=hex -c extra_float_digits=1";

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Connections to a server that is killed now and then. */
function connections(server: PostgresServer, database: string) {
  async function open(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: server.url(database), options: asText });
    client.on("error", () => undefined);
    client.on("end", () => {
      if (kept === client) kept = undefined;
    });
    await client.connect();
    return client;
  }
  let kept: pg.Client | undefined;
  return {
    open,
    /** Out: what the last statement gives. */
    async run(...statements: string[]): Promise<Row[]> {
      kept ??= await open();
      try {
        const results = [await kept.query(statements.join(";\n"))].flat();
        return results.at(-1)?.rows ?? [];
      } catch (error) {
        kept.end().catch(() => undefined);
        kept = undefined;
        throw error;
      }
    },
    close: async () => kept?.end(),
  };
}

const asUser = (user: string, statement: string) => [
  "begin",
  "set local role perch_app",
  `select perch.set_context('${user}')`,
  statement,
  "commit",
];

/** In an order that is the same for the same rows. */
const sorted = (rows: readonly Row[]) =>
  rows.map((row) => JSON.stringify(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1)))).sort();

async function story(nth: number, server: PostgresServer): Promise<number> {
  const chance = chanceOf(nth);
  const world = randomWorld(chance);
  const database = `world_${nth}`;
  const admin = connections(server, "postgres");
  await admin.run(`create database ${database}`);
  await admin.close();
  const db = connections(server, database);
  const env = {
    ...{ DATABASE_URL: server.url(database), LOG_LEVEL: "silent" },
    ...{ PERCH_SHAPE_WAIT_MS: "200", PERCH_SHAPE_CHUNK_BYTES: "1500", PERCH_RECHECK_MS: "100" },
    // A stream says nothing while nothing of its shape changes: how far the log has come its client hears from the next.
    PERCH_SHAPE_STREAM_MS: "2000",
  };
  const nodes = [await perchProcess({ env }), await perchProcess({ env })] as const;
  for (const node of nodes) {
    cleanup(() => node.kill());
    await node.start();
  }
  const anyNode = () => (nodes[Math.floor(Math.random() * nodes.length)] as PerchProcess).httpUrl;
  let rules = world.rules(chance);
  for (const space of world.spaces) await db.run(...asUser("ada", `select perch.create_space('${space}')`));
  await db.run(world.script);
  await db.run(world.sync(rules));
  await db.run("select perch.sync_table(relation => 'people', app_id => 'shop', space_column => 'team')");
  const [first, second, third] = world.spaces as [string, string, string];
  const members = new Map([
    ["ben", new Map(world.spaces.map((space, at) => [space, at === 0 ? "owner" : "editor"]))],
    ["cleo", new Map([[first, "viewer"]])],
  ]);
  const setMember = async (user: string, space: string, role: string | null) => {
    await db.run(
      ...asUser(
        "ada",
        role === null
          ? `select perch.remove_space_member('${space}', '${user}')`
          : `select perch.set_space_member('${space}', '${user}', '${role}')`,
      ),
    );
    if (role === null) members.get(user)?.delete(space);
    else members.get(user)?.set(space, role);
  };
  for (const [user, roles] of members) for (const [space, role] of [...roles]) await setMember(user, space, role);
  const rightsOf = (user: string): Rights => {
    const roles = members.get(user) as Map<string, string>;
    // Everybody is the owner of a space of their own.
    return { user, spaces: [...roles.keys()], roles: ["owner", ...roles.values()], rules };
  };
  /** All rights that there were: each from before the change that gave them until behind the one that took them. */
  const times: { from: number; to: number; rights: Readonly<Record<string, Rights>> }[] = [];
  async function changeRights(change: () => Promise<unknown>): Promise<void> {
    const from = Date.now();
    await change();
    const before = times.at(-1);
    if (before !== undefined) before.to = Date.now();
    const rights = Object.fromEntries([...members.keys()].map((user) => [user, rightsOf(user)]));
    times.push({ from, to: Number.POSITIVE_INFINITY, rights });
  }
  await changeRights(async () => undefined);

  const users = ["ben", "ben", "cleo"];
  const followers: Follower[] = [
    ...Array.from({ length: 8 }, () =>
      polling({ user: chance.pick(users), wanted: world.wanted(chance), full: chance.is(0.4) }, anyNode),
    ),
    following({ user: "ben", wanted: world.wanted(chance), liveSse: false }, anyNode),
    following({ user: "cleo", wanted: world.wanted(chance), liveSse: true }, anyNode),
  ];

  let writing = true;
  let written = 0;
  async function write(from: Chance): Promise<void> {
    let client: pg.Client | undefined;
    while (writing) {
      const statements = world.deed(from);
      const isUndone = from.is(0.1);
      try {
        client ??= await db.open();
        await client.query("begin");
        for (const statement of statements) await client.query(statement);
        await client.query(isUndone ? "rollback" : "commit");
        written += 1;
      } catch (error) {
        const { code = "" } = error as { code?: string };
        // Keys that are taken, deadlocks of the test's own; and a server that has gone.
        const isExpected = ["23505", "40P01", "40001"].includes(code);
        if (!isExpected && !isGone(error)) throw new Error(`${code} ${statements.join("; ")}`, { cause: error });
        if (isExpected) await client?.query("rollback").catch(() => undefined);
        else {
          client?.end().catch(() => undefined);
          client = undefined;
          await sleep(30);
        }
      }
    }
    await client?.end().catch(() => undefined);
  }
  async function push(from: Chance): Promise<void> {
    while (writing) {
      const [known] = await db
        .run("select record_id as id from perch.sync_changes where table_name = 'items' order by random() limit 1")
        .catch(() => []);
      const { space, data } = world.pushed(from);
      const change = { op: "update", table: "items", id: known?.id ?? "1", space_id: space, data };
      await fetch(`${anyNode()}/v1/push`, {
        method: "POST",
        headers: { authorization: "Bearer ben" },
        body: JSON.stringify({ app_id: "shop", client_id: "phone", changes: [change] }),
      })
        .then((response) => response.text())
        .catch(() => undefined);
      await sleep(10);
    }
  }

  /** What happens in the middle of a round. */
  const kill = async (node: PerchProcess) => {
    await node.kill();
    await sleep(100);
    await node.start();
  };
  const strikes: readonly (() => Promise<unknown>)[] = [
    () => kill(nodes[0]),
    () => kill(nodes[1]),
    async () => {
      await server.kill();
      await sleep(100);
      await server.start();
    },
    async () => {
      await server.killPostmaster();
      // Not before the last of its processes has gone.
      await until(() => server.start().then(() => true), "the server to start");
    },
    async () => {
      await Promise.all([kill(nodes[0]), server.kill().then(() => server.start())]);
    },
  ];
  const turns: readonly (() => Promise<unknown>)[] = [
    async () => setMember("cleo", second, members.get("cleo")?.has(second) ? null : chance.pick(["viewer", "editor"])),
    async () => setMember("ben", third, members.get("ben")?.has(third) ? null : "viewer"),
    async () => setMember("ben", second, chance.pick(["viewer", "owner"])),
    async () => {
      const next: Rules = world.rules(chance);
      // It may be in a deadlock with the writers, which take the two tables in any order.
      await until(() => db.run(world.sync(next)), "the rules to be others");
      rules = next;
    },
  ];

  let compared = 0;
  for (let round = 0; round < rounds; round++) {
    const strike = chance.pick(strikes);
    const turn = chance.pick(turns);
    const away = chance.some(followers, 0.2);
    writing = true;
    written = 0;
    const ways = Array.from({ length: writers }, () => chance.fork());
    const busy = [...ways.map(write), push(chance.fork())];
    const failures: unknown[] = [];
    const reading = followers
      .filter((one) => !away.includes(one))
      .map(async (one) => {
        while (writing) await one.step(Math.random() < 0.5);
      });
    for (const work of [...busy, ...reading]) work.catch((error) => failures.push(error));
    await sleep(roundMs / 3);
    if (chance.is(0.5)) {
      await changeRights(turn);
      await strike();
    } else {
      await strike();
      await changeRights(turn);
    }
    await until(() => failures.length > 0 || written > 10, "enough to have been written");
    await sleep(roundMs / 3);
    writing = false;
    await Promise.all([...busy, ...reading]);

    await until(async () => {
      const [row] = await db.run("select count(*)::text as left from perch.captured_changes");
      return row?.left === "0";
    }, "all changes to have numbers");
    await db.run(
      `insert into positions select l.txid, max(l.position) from perch.sync_changes l where l.txid is not null
        group by l.txid on conflict do nothing`,
    );
    if (chance.is(0.4)) {
      await db.run(
        "begin",
        "set local role perch_worker",
        "select perch.prune_changes(keep_for => '0 s', keep_last => 5)",
        "commit",
      );
    }
    const [head] = await db.run("select coalesce(max(at), 0)::text as at from positions");
    const end = BigInt(head?.at ?? 0);
    await Promise.all(
      followers.map((one) =>
        until(async () => {
          await one.step(false);
          return one.upto >= end;
        }, `${one.how} to have come to the end`),
      ),
    );
    for (const one of followers) {
      const { user, wanted, how } = one;
      const said = `seed ${nth}, round ${round}, ${user}, ${how}, ${JSON.stringify({ where: wanted.where, rules })}`;
      expect(one.faults, said).toEqual([]);
      const now = sorted(await db.run(world.select(rightsOf(user), wanted)));
      // Whose rights have changed begins anew, and has nothing, or what it had, until it has come to the end once more.
      const isThere = async () => {
        await one.step(false);
        return one.upto >= end && JSON.stringify(sorted(one.rows())) === JSON.stringify(now);
      };
      // What they differ in says the assertion.
      await until(isThere, `${said}, to be as it is`).catch(() => undefined);
      expect(sorted(one.rows()), `${said}, at the end`).toEqual(now);
      // Not only at the end: whenever it was up to date, by rights that there were while it asked.
      const picked = one.seen
        .splice(0)
        .filter((_, at, all) => at === 0 || at === all.length - 1 || Math.random() < 12 / all.length);
      for (const { upto, snapshot, rows, asked, told } of picked) {
        const got = sorted(rows);
        const may: string[][] = [];
        for (const { rights } of times.filter(({ from, to }) => from <= told && asked <= to)) {
          const then = world.select(rights[user] as Rights, wanted, { upto, snapshot });
          may.push(sorted(await db.run(then)));
        }
        const moment = `at ${upto} behind ${snapshot}, asked at ${asked}, told at ${told}`;
        if (!may.some((then) => JSON.stringify(then) === JSON.stringify(got))) {
          expect(got, `${said}, ${moment}, rights ${JSON.stringify(times)}`).toEqual(may[0]);
        }
        compared += 1;
      }
    }
  }
  await Promise.all(nodes.map((node) => node.kill()));
  await db.close();
  return compared;
}

const isGone = (error: unknown): boolean => {
  const { code = "", message = "" } = error as { code?: string; message?: string };
  return /^(57P0|08|ECONN|EPIPE)/.test(code) || /terminated|not queryable|Connection|closed/i.test(message);
};

it("shapes of random tables are what select says at each position, whoever is killed", {
  // Half a minute each when nothing else is going on; on a machine with much to do it is some minutes.
  timeout: runs * 600_000,
}, async () => {
  // What was committed outlives its processes, as it does on a disk; waiting for one would only take time.
  const server = await startPostgresServer({
    version: 18,
    settings: { synchronous_commit: "on", max_connections: 100 },
  });
  cleanup(() => server.close());
  let compared = 0;
  for (let nth = 0; nth < runs; nth++) {
    console.info(`PERCH_SHAPES_SEED=${seed + nth}`);
    compared += await story(seed + nth, server);
  }
  expect(compared).toBeGreaterThan(20 * runs);
});

it("shapes tell of a transaction whose number one had that was rolled back, and that a crash made forget", async () => {
  // What is not committed does not come to the disk by itself.
  const settings = { synchronous_commit: "on", wal_writer_delay: "10s" };
  const server = await startPostgresServer({ version: 18, settings });
  cleanup(() => server.close());
  const db = connections(server, "postgres");
  const node = await perchProcess({ env: { DATABASE_URL: server.url(), LOG_LEVEL: "silent" } });
  cleanup(() => node.kill());
  await node.start();
  await db.run("create table things (id int primary key)");
  const ask = async (query: string) => {
    const response = await fetch(`${node.httpUrl}/v1/shape?table=things&${query}`);
    const messages = response.ok ? ((await response.json()) as { key?: string }[]) : [];
    const { headers, status } = response;
    const from = `offset=${headers.get("electric-offset")}&handle=${headers.get("electric-handle")}`;
    return { status, from, rows: messages.filter(({ key }) => key !== undefined).length };
  };
  expect((await ask("offset=-1")).status).toBe(200);
  // Whatever else is committed meanwhile takes to the disk what came before it: then nothing is forgotten, and another attempt is worth its time.
  for (let attempt = 1; attempt <= 4; attempt++) {
    const undone = Array.from({ length: 200 }, () => ["begin", "insert into things values (0)", "rollback"]);
    await db.run(...undone.flat());
    let { from, rows } = await ask("offset=-1");
    await server.kill();
    await server.start();
    await db.run(`insert into things values (${attempt})`);
    const before = rows;
    await until(async () => {
      const next = await ask(from).catch(() => undefined);
      if (next?.status !== 200) return false;
      from = next.from;
      rows += next.rows;
      return rows > before;
    }, `the row of attempt ${attempt} to be told of`);
    expect(rows).toBe(attempt);
  }
});
