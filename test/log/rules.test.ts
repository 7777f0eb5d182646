import pg from "pg";
import { beforeAll, describe, expect, it } from "vitest";
import { describeEachEngine, postgres, type TestDatabase } from "../support/databases.js";
import { codes, insert, pull, push, type Result, records, remove, update } from "./support.js";

const outcomes = (results: Result[]) => results.map(({ status, seq }) => [status, seq]);

describeEachEngine("A rule of the app's on perch's tables", (open) => {
  let t: TestDatabase;
  let user = 0;
  const asNew = <T>(work: Parameters<typeof t.asUser<T>>[1]) => t.asUser(`user${++user}`, work);
  beforeAll(async () => {
    t = await open();
    await t.db.transaction((tx) =>
      tx.script(`
      alter table perch.stored_records add constraint short_titles check (length(data ->> 'title') < 10);
      create unique index one_slug on perch.stored_records (space_id, (data ->> 'slug')) where data ? 'slug';
      create function public.no_friday() returns trigger language plpgsql as $$
      begin
        if new.data ->> 'day' = 'friday' then raise exception 'not on a friday'; end if;
        if new.data ->> 'day' = 'monday' then raise exception 'taken' using errcode = 'PE409', detail = '{"day": "monday"}'; end if;
        if new.data ->> 'day' = 'number' then perform (new.data ->> 'day')::integer; end if;
        if new.data ->> 'day' = 'own' then raise exception 'not today' using errcode = 'PT403'; end if;
        if new.data ->> 'day' = 'none' then raise no_data_found; end if;
        if new.data ->> 'day' = 'mistake' then perform public.is_not_there(); end if;
        return new;
      end $$;
      create trigger no_friday before insert or update on perch.stored_records for each row execute function public.no_friday();`),
    );
  });

  const refused: [string, Record<string, unknown>, string, RegExp, object][] = [
    ["a check", { title: "much too long" }, "PE422", /short_titles/, { sqlstate: "23514", constraint: "short_titles" }],
    ["a unique index", { slug: "taken" }, "PE409", /one_slug/, { sqlstate: "23505", constraint: "one_slug" }],
    ["a trigger that raises", { day: "friday" }, "PE422", /not on a friday/, { sqlstate: "P0001" }],
    ["a trigger that raises an error of perch's kind", { day: "monday" }, "PE409", /taken/, { day: "monday" }],
    ["a trigger that raises a code of its own", { day: "own" }, "PE422", /not today/, { sqlstate: "PT403" }],
    ["a trigger that finds nothing", { day: "none" }, "PE422", /^invalid: a trigger/, { sqlstate: "P0002" }],
    ["a trigger that fails on a value", { day: "number" }, "PE422", /^invalid: a trigger/, { sqlstate: "22P02" }],
  ];
  for (const [name, data, code, message, detail] of refused) {
    it(`refuses a change by ${name}: that one is rejected, and can be tried again, the others apply`, async () => {
      await asNew(async (tx) => {
        await push(tx, [insert("there", { slug: "taken", n: 1 })]);
        for (const change of [
          insert("bad", data, { op_id: "bad" }),
          update("bad", data),
          insert("bad", data, { actor: { id: 1 } }),
        ]) {
          const [alone] = await push(tx, [change]);
          expect(alone).toMatchObject({ status: "rejected", seq: null, error: { code, detail } });
          expect(alone?.error?.message).toMatch(message);
        }
        const before = (await pull(tx)).changes.length;
        const among = await push(tx, [
          insert("one", {}, { op_id: "one" }),
          insert("bad", data, { op_id: "bad" }),
          update("there", { n: 2 }),
          insert("bad", data, { op_id: "bad" }),
        ]);
        expect(codes(among)).toEqual(["applied", code, "applied", code]);
        expect(outcomes(among)).toEqual([
          ["applied", before + 1],
          ["rejected", null],
          ["applied", before + 2],
          ["rejected", null],
        ]);
        expect(outcomes(await push(tx, [insert("bad", { n: 1 }, { op_id: "bad" })]))).toEqual([
          ["applied", before + 3],
        ]);
        expect(codes(await push(tx, [insert("one", {}, { op_id: "one" }), remove("bad")]))).toEqual([
          "replayed",
          "applied",
        ]);
        expect(
          Object.keys(await records(tx))
            .map((key) => key.split("/").at(-1))
            .sort(),
        ).toEqual(["one", "there"]);
      });
    });
  }

  it("that is a mistake in a program rejects nothing: the change waits until it is mended", async () => {
    await expect(asNew((tx) => push(tx, [insert("x", { day: "mistake" })]))).rejects.toMatchObject({ code: "42883" });
    await expect(asNew((tx) => push(tx, [insert("y"), insert("x", { day: "mistake" })]))).rejects.toMatchObject({
      code: "42883",
    });
  });
});

describeEachEngine("A record", (open) => {
  it("is as long as max_record_bytes lets it be, however it grows; one that is too long can be deleted", async () => {
    const t = await open();
    await t.db.query("select perch.set_limit(name => 'max_record_bytes', value => 300000)");
    await t.asUser("ada", async (tx) => {
      const text = (length: number) => "x".repeat(length);
      expect(codes(await push(tx, [insert("a", { one: text(290_000) })]))).toEqual(["applied"]);
      const more = [
        update("a", { two: text(20_000) }),
        update("a", { two: text(20_000) }, { at: "2026-01-01T00:00:00Z" }),
        insert("b", { one: text(310_000) }),
        insert("c", Object.fromEntries(Array.from({ length: 6_000 }, (_, n) => [`f${n}`, 1]))),
      ];
      for (const change of more) {
        expect(codes(await push(tx, [change]))).toEqual(["PE413"]);
        expect(codes(await push(tx, [change, insert("good")]))).toEqual(["PE413", "applied"]);
      }
      // Hidden until it is inserted again, when the log has all of it.
      const day = (n: number) => ({ at: `2026-02-0${n}T00:00:00Z` });
      expect(
        codes(
          await push(tx, [insert("d", {}, day(1)), remove("d", day(2)), update("d", { one: text(200_000) }, day(3))]),
        ),
      ).toEqual(["applied", "applied", "applied"]);
      expect(codes(await push(tx, [update("d", { two: text(200_000) }, day(4))]))).toEqual(["PE413"]);
      expect(codes(await push(tx, [update("a", { one: null }), update("a", { two: text(200_000) })]))).toEqual([
        "applied",
        "applied",
      ]);
    });
    await t.db.query("select perch.set_limit(name => 'max_record_bytes', value => 100000)");
    await t.asUser("ada", async (tx) => {
      expect(codes(await push(tx, [update("a", { three: 1 })]))).toEqual(["PE413"]);
      expect(codes(await push(tx, [remove("a")]))).toEqual(["applied"]);
    });
  });
});

describe("The operator", () => {
  const open = postgres();
  it("is warned of what rules refuse, and of upgrades that fail", async () => {
    const t = await open();
    await t.db.transaction((tx) =>
      tx.script(`
      alter table perch.stored_records add constraint short_titles check (length(data ->> 'title') < 10);
      create function public.to_2(change jsonb) returns jsonb language sql immutable as $$ select jsonb_set(change, '{data,n}', to_jsonb((change #>> '{data,n}')::int)) $$;
      grant execute on function public.to_2 to public;`),
    );
    await t.db.query("select perch.register_upgrade('todo', 'versioned', 1, 'public.to_2(jsonb)')");
    await t.db.query("select perch.set_schema_version('todo', 'versioned', 2)");
    const client = new pg.Client(t.url);
    await client.connect();
    const notices: string[] = [];
    client.on("notice", ({ severity, message }) => notices.push(`${severity}: ${message}`));
    try {
      await client.query("begin");
      await client.query("select perch.set_context('ada')");
      const changes = [
        insert("long", { title: "much too long" }),
        insert("good"),
        { ...insert("old", { n: "abc" }), table: "versioned", schema_version: 1 },
        { ...insert("new", { n: "7" }), table: "versioned", schema_version: 1 },
      ];
      const { rows } = await client.query("select perch.push('todo', $1::jsonb, 'laptop') as answer", [
        JSON.stringify(changes),
      ]);
      expect(codes(rows[0].answer.results)).toEqual(["PE422", "applied", "PE422", "applied"]);
      await client.query("commit");
    } finally {
      await client.end();
    }
    expect(notices).toEqual([
      expect.stringMatching(/^WARNING: perch: .*versioned\/old.*upgrade from version 1/),
      expect.stringMatching(/^WARNING: perch: .*tasks\/long.*short_titles/),
    ]);
  });
});
