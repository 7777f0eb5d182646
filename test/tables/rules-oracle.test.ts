import { Writable } from "node:stream";
import fc from "fast-check";
import { pino } from "pino";
import { expect, it } from "vitest";
import { startWorker } from "../../src/worker/index.js";
import { cleanup, makeSpace, startNode } from "../gateway/support.js";
import { describeSomePostgres } from "../support/databases.js";
import { until } from "../support/until.js";
import { type Following, puller, shape, streaming } from "./rules-readers.js";
import {
  looksFurther,
  makeWorld,
  newSecret,
  type Reader,
  type Role,
  type Row,
  roles,
  rules,
  secretsIn,
} from "./rules-world.js";

/** How many tables with rules of their own; more of them by this variable. */
const runs = Number(process.env.PERCH_RULES_RUNS ?? 2);

/** To see a failure again, as far as it depends on that. */
const seed = process.env.PERCH_RULES_SEED;

const users = ["olga", "eddy", "vera", "nina"] as const;
const id = fc.integer({ min: 1, max: 8 });
const owner = fc.constantFrom<string | null>(...users, "lena", "all", null);
const space = fc.constantFrom<number | null>(0, 0, 1, 1, null);
const level = fc.constantFrom<number | null>(0, 1, 5, 9, null);
const flag = fc.constantFrom<boolean | null>(true, false, null);
const columns = fc.subarray(["owner", "level", "flag", "a", "b", "c"], { minLength: 1, maxLength: 4 });

/** What one statement, or one pushed change, does. */
const deed = fc.oneof(
  fc.record({ do: fc.constant("insert" as const), id, space, owner, level, flag }),
  fc.record({ do: fc.constant("set" as const), id, columns, owner, level, flag }),
  fc.record({ do: fc.constant("set" as const), id, columns, owner, level, flag }),
  fc.record({ do: fc.constant("move" as const), id, space }),
  fc.record({ do: fc.constantFrom("key" as const, "delete" as const), id }),
  fc.record({ do: fc.constantFrom("all" as const, "touch all" as const) }),
  fc.record({ do: fc.constant("truncate" as const) }),
  fc.record({
    do: fc.constant("push" as const),
    user: fc.constantFrom(...users),
    op: fc.constantFrom("insert" as const, "update" as const, "update" as const, "delete" as const),
    id,
    space: fc.integer({ min: 0, max: 1 }),
    columns,
    owner,
    level,
    flag,
  }),
);
type Deed = typeof deed extends fc.Arbitrary<infer T> ? T : never;
const transaction = fc.record({
  deeds: fc.array(deed, { minLength: 1, maxLength: 3 }),
  isUndone: fc.constantFrom(false, false, false, true),
});

/** What changes who sees what, besides the rows. */
const turn = fc.oneof(
  fc.record({
    is: fc.constant("role" as const),
    user: fc.constantFrom("eddy", "vera", "nina"),
    space: fc.integer({ min: 0, max: 1 }),
    role: fc.constantFrom<Role | null>(...roles, null),
  }),
  fc.record({
    is: fc.constant("helper" as const),
    item: id,
    user: fc.constantFrom(...users, "lena"),
    comes: fc.boolean(),
  }),
  fc.record({ is: fc.constant("gate" as const), space: fc.integer({ min: 0, max: 1 }), open: fc.boolean() }),
  fc.record({ is: fc.constant("rules" as const), rules }),
  fc.record({ is: fc.constantFrom("prune" as const, "none" as const) }),
);
const stretch = fc.record({
  writers: fc.array(fc.array(transaction, { minLength: 1, maxLength: 4 }), { minLength: 2, maxLength: 3 }),
  turn,
});
const story = fc.record({
  rules,
  roles: fc.array(fc.constantFrom<Role | null>(...roles, null), { minLength: 6, maxLength: 6 }),
  stretches: fc.array(stretch, { minLength: 4, maxLength: 7 }),
});

describeSomePostgres("rules of a synced table, by an oracle", (open) => {
  it("show what select shows under the same rule, and no secret goes out by any way", {
    timeout: 120_000 + runs * 30_000,
  }, async () => {
    const t = await open();
    const everywhere: string[] = [];
    const logged = new Writable({ write: (line, _, done) => done(void everywhere.push(String(line))) });
    const log = pino({ level: "trace" }, logged);
    await t.db.listen(["perch_changes", "perch_documents", "perch_presence", "perch_captured"], {
      notify: (_, text) => void everywhere.push(text),
      ready: () => undefined,
    });
    const node = await startNode(t, { log, env: { PERCH_RECHECK_MS: "50", PERCH_SHAPE_CHUNK_BYTES: "400" } });
    const worker = await startWorker({ db: await t.connect(), live: node.live, log });
    cleanup(() => worker.close());
    const own = await t.connect();
    let nth = 0;

    async function run(plan: typeof story extends fc.Arbitrary<infer T> ? T : never): Promise<void> {
      nth += 1;
      const world = await makeWorld(t, nth);
      const [first, second] = world.spaces;
      const member = (user: string, from: number): Record<string, Role> => {
        const role = plan.roles[from];
        return role ? { [user]: role } : {};
      };
      await makeSpace(t, first, "olga", { ...member("eddy", 0), ...member("vera", 1), ...member("nina", 2) });
      await makeSpace(t, second, "olga", { ...member("eddy", 3), ...member("vera", 4), ...member("nina", 5) });
      await world.setRules(plan.rules);

      const told = new Map<string, string[]>();
      const tell = (user: string, text: string) => void told.set(user, [...(told.get(user) ?? []), text]);
      const lena: Reader = { user: "lena", lists: { readable: [first, second], writable: [first] } };
      const [olga, eddy, vera, nina] = users.map((user): Reader => ({ user })) as [Reader, Reader, Reader, Reader];
      const head = async () => {
        const [row] = await own.query<{ at: string }>(
          "select coalesce(max(position), 0)::text as at from perch.sync_changes where table_name = $1",
          [world.table],
        );
        return BigInt(row?.at ?? 0);
      };
      const url = t.url as string;
      const followings: Following[] = [
        await puller(url, world, vera, tell, 1),
        await puller(url, world, nina, tell, 3),
        await puller(url, world, lena, tell, 2),
        streaming(node, world, eddy, tell, 2),
        streaming(node, world, nina, tell, 100),
        shape(node, world, olga, tell, {}, head),
        shape(node, world, eddy, tell, { replica: "full" }, head),
        shape(node, world, nina, tell, {}, head),
      ];
      const readers = [olga, eddy, vera, nina, lena];
      const allowed = new Map(readers.map(({ user }) => [user, new Set<string>()]));
      const noteAllowed = async () => {
        for (const reader of readers) {
          for (const secret of await world.allowed(own, reader)) allowed.get(reader.user)?.add(secret);
        }
      };

      const values = (
        names: readonly string[],
        given: { owner: string | null; level: number | null; flag: boolean | null },
      ) =>
        Object.fromEntries(
          names.map((name) => {
            if (name === "a" || name === "b") return [name, newSecret()];
            if (name === "c") return [name, Math.random() < 0.3 ? { k: "5" } : { k: newSecret() }];
            return [name, given[name as "owner"]];
          }),
        );
      const { relation } = world;
      type Tx = Parameters<Parameters<typeof own.transaction>[0]>[0];
      async function write(tx: Tx, one: Deed): Promise<unknown> {
        switch (one.do) {
          case "insert": {
            const row = {
              id: one.id,
              team: one.space === null ? null : world.spaces[one.space],
              ...values(["a", "b", "c"], one),
            };
            return tx.query(
              `insert into ${relation} select * from jsonb_populate_record(null::${relation}, $1) on conflict (id) do update set a = excluded.a, flag = excluded.flag`,
              [JSON.stringify({ ...row, owner: one.owner, level: one.level, flag: one.flag })],
            );
          }
          case "set": {
            const row = values(one.columns, one);
            return tx.query(
              `update ${relation} i set ${one.columns.map((name) => `${name} = n.${name}`).join()} from jsonb_populate_record(null::${relation}, $1) n where i.id = $2`,
              [JSON.stringify(row), one.id],
            );
          }
          case "move":
            return tx.query(`update ${relation} set team = $2 where id = $1`, [
              one.id,
              one.space === null ? null : world.spaces[one.space],
            ]);
          case "key":
            return tx.query(
              `update ${relation} set id = id + 10 where id = $1 and not exists (select from ${relation} where id = $1 + 10)`,
              [one.id],
            );
          case "delete":
            return tx.query(`delete from ${relation} where id in ($1, $1 + 10)`, [one.id]);
          case "all":
            return tx.query(`update ${relation} set flag = not flag, level = coalesce(level, 5)`);
          case "touch all":
            return tx.query(`update ${relation} set id = id`);
          case "truncate":
            return tx.query(`truncate ${relation}`);
        }
        return undefined;
      }
      async function push(one: Extract<Deed, { do: "push" }>): Promise<void> {
        const data = values(one.columns, one);
        for (const secret of secretsIn(JSON.stringify(data))) allowed.get(one.user)?.add(secret);
        const change = { op: one.op, table: world.table, id: String(one.id), space_id: world.spaces[one.space], data };
        const response = await fetch(`${node.gateway.url}/v1/push`, {
          method: "POST",
          headers: { authorization: `Bearer ${one.user}` },
          body: JSON.stringify({ app_id: "shop", client_id: "phone", changes: [change] }),
        });
        tell(one.user, await response.text());
        if (response.status !== 200 && response.status !== 503) throw new Error(String(response.status));
      }
      const undone = new Error("rolled back");
      const passing = new Set(["40P01", "40001", "23505"]);
      async function writer(transactions: (typeof plan.stretches)[number]["writers"][number]): Promise<void> {
        for (const { deeds, isUndone } of transactions) {
          for (const one of deeds) if (one.do === "push") await push(one);
          await own
            .transaction(async (tx) => {
              for (const one of deeds) await write(tx, one);
              if (isUndone) throw undone;
            })
            .catch((error: unknown) => {
              if (error !== undone && !passing.has(String((error as { code?: string }).code))) throw error;
            });
        }
      }

      async function turnTo(what: (typeof plan.stretches)[number]["turn"]): Promise<void> {
        switch (what.is) {
          case "role": {
            const place = world.spaces[what.space];
            await t.asUser("olga", (tx) =>
              what.role === null
                ? tx.query("select perch.remove_space_member($1, $2)", [place, what.user])
                : tx.query("select perch.set_space_member($1, $2, $3)", [place, what.user, what.role]),
            );
            break;
          }
          case "helper":
            await own.transaction(async (tx) => {
              await tx.query(
                what.comes
                  ? `insert into ${world.schema}.helpers values ($1, $2) on conflict do nothing`
                  : `delete from ${world.schema}.helpers where item = $1 and helper = $2`,
                [what.item, what.user],
              );
              await tx.query(`update ${relation} set id = id where id = $1`, [what.item]);
            });
            break;
          case "gate":
            await own.transaction(async (tx) => {
              const place = world.spaces[what.space];
              await tx.query(`update ${world.schema}.gates set open = $2 where team = $1`, [place, what.open]);
              await tx.query(`update ${relation} set id = id where team = $1`, [place]);
            });
            break;
          case "rules":
            await world.setRules(what.rules);
            break;
          case "prune":
            await t.asWorker((tx) => tx.query("select perch.prune_changes(keep_for => '0 s', keep_last => 3)"));
        }
      }

      const differences = async (following: Following): Promise<string[]> => {
        const wanted = following.isShape
          ? await world.expectedShape(own, following.reader)
          : await world.expected(own, following.reader);
        const found = following.held();
        const further = looksFurther(world.rules());
        const said: string[] = [];
        for (const [key, row] of wanted) {
          const got = found.get(key);
          if (!same(got, row, following.isShape === true)) {
            said.push(`${key}: ${JSON.stringify(got)} instead of ${JSON.stringify(row)}`);
          }
        }
        // Who does not see a row any more because of something else than the row is told of nothing.
        for (const [key, row] of found) {
          if (!wanted.has(key) && !further) said.push(`${key}: ${JSON.stringify(row)} is out of sight`);
        }
        return said;
      };
      let reading = true;
      const readOn = followings.map(async (following) => {
        while (reading) {
          await following.step();
          await new Promise((done) => setTimeout(done, Math.random() * 20));
        }
      });
      const settle = async () => {
        await until(async () => {
          const [row] = await own.query<{ left: number }>("select count(*)::int as left from perch.captured_changes");
          return row?.left === 0;
        }, "all changes to have numbers");
      };

      try {
        for (const { writers, turn: next } of plan.stretches) {
          await Promise.all(writers.map(writer));
          await noteAllowed();
          await turnTo(next);
          await noteAllowed();
          await settle();
          for (const following of followings) {
            const { user } = following.reader;
            const where = `${user} by ${following.how}, after ${JSON.stringify(next)}, under ${JSON.stringify(world.rules())}`;
            await until(async () => {
              const last = await differences(following);
              if (last.length > 0) throw new Error(last.join("\n"));
              return true;
            }, `all that is to be seen, and nothing else, by ${where}`);
          }
        }
      } finally {
        reading = false;
        await Promise.allSettled(readOn);
      }
      await Promise.all(readOn);
      await noteAllowed();
      for (const [user, texts] of told) {
        const beyond = texts.filter((text) => secretsIn(text).some((secret) => !allowed.get(user)?.has(secret)));
        expect(beyond, `what ${user} was told and may not know`).toEqual([]);
      }
      expect(secretsIn(everywhere.join("\n")), "what notifications and the log say").toEqual([]);
    }

    await fc.assert(fc.asyncProperty(story, run), {
      numRuns: runs,
      endOnFailure: true,
      ...(seed !== undefined && { seed: Number(seed), path: process.env.PERCH_RULES_PATH ?? "" }),
    });
  });
});

/** Of a shape the texts are compared, of which one of JSON is as Postgres writes it. */
function same(got: Row | undefined, wanted: Row, isText: boolean): boolean {
  if (got === undefined) return false;
  const names = [...new Set([...Object.keys(got), ...Object.keys(wanted)])];
  return names.every((name) => {
    const [one, other] = [got[name], wanted[name]];
    if (!isText || one === null || one === undefined) return JSON.stringify(one) === JSON.stringify(other);
    return typeof other === "object"
      ? JSON.stringify(JSON.parse(String(one))) === JSON.stringify(other)
      : String(one) === String(other);
  });
}
