/**
 * What one user's many requests cost others. What is counted is how many of them are served while one of another is: that says who waits for
 * whom however slow the machine is, which all of them share.
 */
import { expect, it } from "vitest";
import { openPostgres } from "../../src/database/postgres.js";
import { shareConnections } from "../../src/database/shares.js";
import { declareNotes, until } from "../gateway/support.js";
import { postgres } from "../support/databases.js";
import { type Serving, serving, typist } from "../support/serving.js";
import { pause } from "../support/until.js";

const open = postgres();
const attackers = 150;
/**
 * Two at work as the victim comes, and some more by the time it is answered; in one line with all it would be a hundred, and for a
 * join that much for each of several questions.
 */
const fewOf = (name: string) => (name === "join" ? 80 : 50);

/** The fewest of the attacker's answers that come while something of the victim's is done, of a few times. */
async function servedMeanwhile(served: () => number, work: () => Promise<unknown>, few: number): Promise<number> {
  let fewest = Number.POSITIVE_INFINITY;
  for (let n = 0; n < 15 && fewest > few; n++) {
    const before = served();
    await work();
    fewest = Math.min(fewest, served() - before);
  }
  return fewest;
}

function victimsWorks(node: Serving, victim: Awaited<ReturnType<typeof typist>>) {
  let n = 0;
  return {
    edit: () => victim.type(node.db, "x"),
    push: async () => expect((await node.push("victim", `v${++n}`)).status).toBe(200),
    pull: async () => expect((await node.call("victim", "POST", "/v1/pull", { app_id: "app" })).status).toBe(200),
    join: () => typist(node, "victim", `/app/notes/n${++n}`),
  };
}

it("a user with many pulls in flight has few connections, and others wait for few of them", async () => {
  const t = await open();
  await declareNotes(t);
  await t.asUser("mallory", async (tx) => {
    const changes = Array.from({ length: 100 }, (_, n) => ({
      op: "insert",
      table: "tasks",
      id: `m${n}`,
      data: { text: "x".repeat(4_000) },
    }));
    await tx.query("select perch.push(app_id => 'app', client_id => 'm', changes => $1)", [JSON.stringify(changes)]);
  });
  // Whose requests take long has one connection, which would hide how many a user has.
  const node = await serving({ url: t.url ?? "", poolSize: 10 }, { heavy: 10 });
  const victim = await typist(node, "victim", "/app/notes/n");
  let over = false;
  let served = 0;
  let refused = 0;
  let atWork = 0;
  const attack = Array.from({ length: attackers }, async () => {
    while (!over) {
      const { status } = await node.call("mallory", "POST", "/v1/pull", { app_id: "app" });
      if (status === 200) served += 1;
      else if (status === 429) {
        refused += 1;
        await pause(500);
      } else throw new Error(`answered ${status}`);
    }
  });
  const look = async () => {
    while (!over) {
      const [row] = await node.db.aside.query<{ count: number }>(
        `select count(*) as count from pg_stat_activity
          where datname = current_database() and state = 'active' and query like 'select perch.pull_text%'`,
      );
      atWork = Math.max(atWork, row?.count ?? 0);
      await pause(5);
    }
  };
  const looking = look();
  try {
    await until(() => served > 10 && refused > 0);
    for (const [name, work] of Object.entries(victimsWorks(node, victim))) {
      expect(await servedMeanwhile(() => served, work, fewOf(name)), name).toBeLessThanOrEqual(fewOf(name));
    }
  } finally {
    over = true;
    await Promise.all([...attack, looking]);
  }
  // The victim's own pull is one more.
  expect(atWork).toBeLessThanOrEqual(3);
});

it("a user's pushes that wait for each other leave others their connections", async () => {
  const t = await open();
  await declareNotes(t);
  const node = await serving({ url: t.url ?? "", poolSize: 10 });
  const victim = await typist(node, "victim", "/app/notes/n");
  const large = (n: number) => ({
    app_id: "app",
    client_id: "c",
    changes: Array.from({ length: 100 }, (_, k) => ({
      op: "insert",
      table: "big",
      id: `${n}-${k}`,
      data: { text: "x".repeat(1_000) },
    })),
  });
  let served = 0;
  let over = false;
  const attack = Array.from({ length: 80 }, async (_, n) => {
    for (let round = 0; !over; round++) {
      const { status } = await node.call("mallory", "POST", "/v1/push", large(n * 1_000_000 + round));
      if (status === 200) served += 1;
      else throw new Error(`answered ${status}`);
    }
  });
  try {
    await until(() => served > 10);
    for (const [name, work] of Object.entries(victimsWorks(node, victim))) {
      expect(await servedMeanwhile(() => served, work, fewOf(name)), name).toBeLessThanOrEqual(fewOf(name));
    }
  } finally {
    over = true;
    await Promise.all(attack);
  }
});

it("what is done in the background leaves most connections to those who wait for an answer", async () => {
  const t = await open();
  const db = openPostgres({ url: t.url as string, poolSize: 10 });
  const shares = shareConnections(db);
  const background = Array.from({ length: 12 }, () => shares.worker.query("select pg_sleep(0.5), 'background'"));
  const sleeping = async () => {
    const [row] = await t.db.query<{ count: number }>(
      `select count(*)::int as count from pg_stat_activity
        where datname = current_database() and query = 'select pg_sleep(0.5), ''background''' and state = 'active'`,
    );
    return row?.count ?? 0;
  };
  let isOver = false;
  const ended = Promise.all(background).then(() => {
    isOver = true;
  });
  let most = 0;
  while (!isOver) most = Math.max(most, await sleeping());
  await ended;
  expect(most).toBe(4);
  await db.close();
});
