import { beforeAll, describe, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { type Change, codes, insert, pull, type Result, records } from "./support.js";

const call = (name: string, args: Record<string, unknown> = {}, op_id?: string): Change => ({
  op: "call",
  name,
  args,
  ...(op_id !== undefined && { op_id }),
});

/** A shop: stock that no program may oversell, orders with lines, and what goes wrong in a function. */
const shop = `
do $$ begin create role shop_author nologin; exception when duplicate_object or unique_violation then null; end $$;
grant perch_app to shop_author;
create schema shop;
grant usage, create on schema shop to shop_author;
create table shop.stock (item text primary key, count int not null, constraint enough check (count >= 0));
create table shop.orders (id text primary key, by text not null, placed_at timestamptz not null default now());
create table shop.lines (order_id text references shop.orders, item text references shop.stock, count int not null);
insert into shop.stock values ('book', 3), ('last', 1);
alter table shop.stock owner to shop_author;
alter table shop.orders owner to shop_author;
alter table shop.lines owner to shop_author;
set local role shop_author;
create function shop.place_order(args jsonb) returns jsonb language plpgsql security definer set search_path = pg_catalog, pg_temp as $f$
declare
  line jsonb;
begin
  insert into shop.orders values (args ->> 'id', perch.current_user_id());
  for line in select l from jsonb_array_elements(args -> 'lines') l loop
    update shop.stock set count = stock.count - (line ->> 'count')::int where item = line ->> 'item';
    if not found then raise exception 'no item %', line ->> 'item' using errcode = 'PE404', detail = jsonb_build_object('item', line -> 'item')::text; end if;
    insert into shop.lines values (args ->> 'id', line ->> 'item', (line ->> 'count')::int);
  end loop;
  perform perch.push(app_id => 'shop', client_id => null, changes => jsonb_build_array(jsonb_build_object(
    'op', 'insert', 'table', 'tasks', 'id', args -> 'id', 'data', jsonb_build_object('n', jsonb_array_length(args -> 'lines')))));
  return jsonb_build_object('id', args -> 'id', 'by', perch.current_user_id());
end $f$;
create function shop.misbehave(args jsonb) returns jsonb language plpgsql security definer set search_path = pg_catalog, pg_temp as $f$
begin
  insert into shop.orders values (args ->> 'id', 'left over');
  case args ->> 'how'
    when 'raise' then raise exception 'not today';
    when 'own' then raise exception 'forbidden: not yours' using errcode = 'PE403', detail = '{"why": "rules"}';
    when 'check' then update shop.stock set count = -1 where item = 'book';
    when 'key' then insert into shop.orders values (args ->> 'id', 'again');
    when 'null' then insert into shop.orders values ('n', null);
    when 'value' then perform (args ->> 'how')::int;
    when 'mistake' then perform shop.is_not_there();
    when 'role' then set local role perch_owner;
    when 'superuser' then perform set_config('session_authorization', 'postgres', true);
    when 'records' then delete from perch.stored_records;
    when 'counters' then update perch.space_heads set seq = 0;
    when 'files' then perform pg_read_file('/etc/passwd');
    when 'recursion' then return shop.misbehave(args || '{"id": "deeper"}');
    when 'deep' then perform perch.push('shop', jsonb_build_array(jsonb_build_object('op', 'call', 'name', 'misbehave', 'args', args || '{"how": "raise"}')), null);
    when 'long' then return to_jsonb(repeat('x', 70000));
    when 'other' then
      perform perch.set_context(user_id => 'mallory', space_ids => '{vault}', writable_space_ids => '{vault}');
      perform perch.set_tenant('mallory-inc');
      perform set_config('row_security', 'off', true);
    when 'sleep' then perform pg_sleep(30);
    when 'loop' then loop null; end loop;
  end case;
  return 'null';
end $f$;
create function shop.nothing(args jsonb) returns jsonb language sql security definer set search_path = pg_catalog, pg_temp return null::jsonb;
create function shop.count(args jsonb) returns jsonb language sql security definer set search_path = pg_catalog, pg_temp as
  $f$ select to_jsonb(count(*)) from perch.records $f$;
create function shop.invoker(args jsonb) returns jsonb language sql set search_path = pg_catalog, pg_temp as 'select args';
create function shop.unpinned(args jsonb) returns jsonb language sql security definer as 'select args';
create function shop.other(args text) returns jsonb language sql security definer set search_path = pg_catalog, pg_temp as 'select ''1''::jsonb';
create function shop.several(args jsonb) returns setof jsonb language sql security definer set search_path = pg_catalog, pg_temp as 'select args';
reset role;
create function shop.of_superuser(args jsonb) returns jsonb language sql security definer set search_path = pg_catalog, pg_temp as 'select args';
create function shop.of_perch(args jsonb) returns jsonb language sql security definer set search_path = pg_catalog, pg_temp as 'select args';
alter function shop.of_perch owner to perch_owner;
select perch.register_mutator('shop', f, format('shop.%s(jsonb)', f)::regprocedure) from unnest('{place_order,misbehave,nothing,count}'::text[]) f;
`;

async function openShop(open: () => Promise<TestDatabase>): Promise<TestDatabase> {
  const t = await open();
  await t.db.transaction((tx) => tx.script(shop));
  return t;
}

async function push(tx: Transaction, changes: unknown, atomic = false): Promise<Result[]> {
  const [row] = await tx.query<{ answer: { results: Result[] } }>(
    "select perch.push(app_id => 'shop', changes => $1::jsonb, client_id => 'phone', atomic => $2) as answer",
    [JSON.stringify(changes), atomic],
  );
  return row?.answer.results ?? [];
}

const order = (id: string, ...lines: [string, number][]) =>
  call("place_order", { id, lines: lines.map(([item, count]) => ({ item, count })) }, `order-${id}`);

describeEachEngine("A mutator", (open) => {
  let t: TestDatabase;
  let users = 0;
  beforeAll(async () => {
    t = await openShop(open);
  });
  const as = <T>(who: string, work: (tx: Transaction) => Promise<T>) => t.asUser(who, work);
  const nobody = () => `user${++users}`;
  const count = async (table: string, where = "true") => {
    const [row] = await t.db.query<{ n: number }>(`select count(*)::int as n from shop.${table} where ${where}`);
    return row?.n;
  };
  const stock = async (item: string) => {
    const [row] = await t.db.query<{ count: number }>("select count from shop.stock where item = $1", [item]);
    return row?.count;
  };

  it("runs in the push, for its user, with the rights of its owner, and its result is the change's", async () => {
    const me = nobody();
    const [result] = await as(me, (tx) => push(tx, [order("o1", ["book", 2])]));
    expect(result).toEqual({
      op_id: "order-o1",
      status: "applied",
      space_id: null,
      seq: null,
      txid: expect.stringMatching(/^\d+$/),
      result: { id: "o1", by: me },
    });
    expect(await stock("book")).toBe(1);
    expect(await count("lines", "order_id = 'o1'")).toBe(1);
    const { changes } = await as(me, (tx) => pull(tx, { appId: "shop" }));
    expect(changes).toMatchObject([{ id: "o1", txid: result?.txid, user_id: me }]);
    await t.db.query("update shop.stock set count = 3 where item = 'book'");
  });

  it("is not called again when its push comes again: the first result is the answer, also of null", async () => {
    const me = nobody();
    const batch = [order("o2", ["book", 1]), call("nothing", {}, "nothing"), call("nothing")];
    const first = await as(me, (tx) => push(tx, batch));
    const again = await as(me, (tx) => push(tx, batch));
    expect(codes(again)).toEqual(["replayed", "replayed", "applied"]);
    for (const [nth, result] of again.entries()) {
      if (nth < 2) expect(result).toEqual({ ...first[nth], status: "replayed" });
    }
    expect(again[2]?.result).toBeNull();
    expect(await count("orders", "id = 'o2'")).toBe(1);
    // What counts is what it says.
    expect(codes(await as(me, (tx) => push(tx, [call("nothing", { n: 1 }, "nothing")])))).toEqual(["PE409"]);
    expect(codes(await as(me, (tx) => push(tx, [insert("a", {}, { op_id: "nothing" })])))).toEqual(["PE409"]);
  });

  it("sees what stands before it in its push, and is seen by what stands behind it", async () => {
    const me = nobody();
    const results = await as(me, (tx) =>
      push(tx, [call("count"), insert("a"), insert("b"), call("count"), insert("c"), call("count")]),
    );
    expect(results.map(({ result, seq }) => result ?? seq)).toEqual([0, 1, 2, 2, 3, 3]);
  });

  const refusals: [string, string, RegExp, Record<string, unknown>][] = [
    ["raise", "PE422", /^invalid: not today$/, { sqlstate: "P0001", name: "misbehave" }],
    ["own", "PE403", /^forbidden: not yours$/, { why: "rules" }],
    ["check", "PE409", /enough/, { sqlstate: "23514", constraint: "enough" }],
    ["key", "PE409", /orders_pkey/, { sqlstate: "23505", constraint: "orders_pkey" }],
    ["null", "PE422", /null value/, { sqlstate: "23502", column: "by" }],
    ["value", "PE422", /invalid input syntax/, { sqlstate: "22P02" }],
    ["mistake", "PE422", /does not exist/, { sqlstate: "42883" }],
    ["unknown", "PE422", /case not found/, { sqlstate: "20000" }],
    ["role", "PE422", /cannot set parameter "role"/, { sqlstate: "42501" }],
    ["superuser", "PE422", /./, { sqlstate: "42501" }],
    ["records", "PE422", /permission denied/, { sqlstate: "42501" }],
    ["counters", "PE422", /permission denied/, { sqlstate: "42501" }],
    ["files", "PE422", /permission denied/, { sqlstate: "42501" }],
    ["long", "PE413", /longer than 65536/, { limit: "max_result_bytes" }],
  ];
  for (const [how, code, message, detail] of refusals) {
    it(`that fails (${how}) has left nothing, says why, and can be tried again; the others apply`, async () => {
      const me = nobody();
      const results = await as(me, (tx) =>
        push(tx, [insert("a"), call("misbehave", { how, id: me }, "bad"), insert("b")]),
      );
      expect(codes(results)).toEqual(["applied", code, "applied"]);
      expect(results[1]?.error?.message).toMatch(message);
      expect(results[1]?.error?.detail).toMatchObject(detail);
      expect(await count("orders", `id = '${me}'`)).toBe(0);
      expect(await stock("book")).toBeGreaterThan(0);
      expect(codes(await as(me, (tx) => push(tx, [call("nothing", {}, "bad")])))).toEqual(["applied"]);
    });
  }

  it("that fails undoes the whole of an atomic push, and one that is undone for another leaves nothing", async () => {
    const me = nobody();
    const note = insert("note", {}, { op_id: "note" });
    const results = await as(me, (tx) => push(tx, [note, order("o3", ["book", 99])], true));
    expect(codes(results)).toEqual(["PE409", "PE409"]);
    expect(results.map(({ error }) => error?.detail.reason ?? error?.detail.constraint)).toEqual(["aborted", "enough"]);
    const other = await as(me, (tx) =>
      push(tx, [order("o3", ["book", 1]), insert("x", {}, { space_id: "vault" })], true),
    );
    expect(codes(other)).toEqual(["PE409", "PE403"]);
    expect(await count("orders", "id = 'o3'")).toBe(0);
    expect(await as(me, (tx) => pull(tx, { appId: "shop" }))).toMatchObject({ changes: [] });
    expect(codes(await as(me, (tx) => push(tx, [note, order("o3", ["book", 1])], true)))).toEqual([
      "applied",
      "applied",
    ]);
  });

  it("that calls itself without end, or fails inside of another push, fails as any does", async () => {
    const me = nobody();
    // PGlite does not outlive its stack.
    if (t.engine !== "PGlite") {
      const [result] = await as(me, (tx) => push(tx, [call("misbehave", { how: "recursion", id: me })]));
      expect(result?.error).toMatchObject({ code: "PE409", detail: { constraint: "orders_pkey" } });
    }
    const [deep] = await as(me, (tx) => push(tx, [call("misbehave", { how: "deep", id: me })]));
    expect(deep?.status).toBe("applied");
  });

  it("changes nothing of whom the rest of the transaction is for", async () => {
    const me = nobody();
    await as(me, async (tx) => {
      await tx.query("select perch.set_tenant('acme')");
      const results = await push(tx, [
        call("misbehave", { how: "other", id: me }),
        insert("mine"),
        insert("theirs", {}, { space_id: "vault" }),
        insert("a", {}, { space_id: "~mallory" }),
      ]);
      expect(codes(results)).toEqual(["applied", "applied", "PE403", "PE403"]);
      const [context] = await tx.query(
        "select perch.current_user_id() as me, perch.current_space_ids() as spaces, perch.current_tenant_id() as tenant, current_setting('row_security') as rls",
      );
      expect(context).toEqual({ me, spaces: [`~${me}`], tenant: "acme", rls: "on" });
    });
    expect((await as(me, (tx) => pull(tx, { appId: "shop" }))).changes).toMatchObject([{ id: "mine", user_id: me }]);
  });

  it("that nobody registered is not found, and what is no call is refused with its reason", async () => {
    const results = await as(nobody(), (tx) =>
      push(tx, [
        call("nowhere"),
        { op: "call" },
        { op: "call", name: "count", args: [1] },
        { op: "call", name: "count", table: "tasks" },
        { op: "call", name: "count", space_id: "vault" },
        { op: "call", name: "count", op_id: 1 },
        call("count"),
      ]),
    );
    expect(codes(results)).toEqual(["PE404", "PE422", "PE422", "PE422", "PE422", "PE422", "applied"]);
    expect(results[3]?.error?.detail).toMatchObject({ argument: "table" });
  });

  describe("is registered only when it", () => {
    const register = async (name: string) =>
      t.db.query("select perch.register_mutator('shop', 'tried', $1::regprocedure)", [name]).then(
        () => "taken",
        (error: { code: string; detail: { reason: string } }) => `${error.code} ${error.detail.reason}`,
      );
    const faults: [string, string, RegExp][] = [
      ["runs with the rights of its owner", "shop.invoker(jsonb)", /SECURITY DEFINER/],
      ["has a search_path of its own", "shop.unpinned(jsonb)", /search_path/],
      ["takes jsonb", "shop.other(text)", /from jsonb to jsonb/],
      ["returns one value", "shop.several(jsonb)", /from jsonb to jsonb/],
      ["is not owned by a superuser", "shop.of_superuser(jsonb)", /superuser/],
      ["is not perch's", "shop.of_perch(jsonb)", /perch_owner/],
    ];
    for (const [what, name, reason] of faults) {
      it(what, async () => {
        expect(await register(name)).toMatch(/^PE422 /);
        expect(await register(name)).toMatch(reason);
      });
    }

    it("is still like that when it is called", async () => {
      const me = nobody();
      await t.db.query("alter function shop.nothing security invoker");
      const results = await as(me, (tx) => push(tx, [call("nothing"), call("count")]));
      await t.db.query("alter function shop.nothing security definer");
      expect(codes(results)).toEqual(["PE422", "applied"]);
      expect(results[0]?.error?.message).toMatch(/rights of perch_owner/);
    });

    it("is by a member of perch_owner who may pass on what perch needs, until it is taken away", async () => {
      const dba = await t.login("perch_owner");
      const user = await t.login("perch_app");
      await expect(user.query("select perch.register_mutator('shop', 'mine', 'shop.count(jsonb)')")).rejects.toThrow(
        "permission denied",
      );
      await dba.query("select perch.register_mutator('shop', 'mine', 'shop.count(jsonb)')");
      expect(codes(await as(nobody(), (tx) => push(tx, [call("mine")])))).toEqual(["applied"]);
      await dba.query("select perch.register_mutator('shop', 'mine', null)");
      expect(codes(await as(nobody(), (tx) => push(tx, [call("mine")])))).toEqual(["PE404"]);
    });
  });
});

describeEachPostgres("Mutators under concurrency", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await openShop(open);
  });

  it("of two devices that want the last item one gets it; of the other's push nothing is there", async () => {
    for (let round = 0; round < 5; round += 1) {
      await t.db.query("update shop.stock set count = 1 where item = 'last'");
      const pushes = ["a", "b"].map((who) =>
        t.asUser(`${who}${round}`, (tx) =>
          push(tx, [insert("note", {}, { op_id: "n" }), order(`${who}${round}`, ["last", 1]), insert("after")], true),
        ),
      );
      const outcomes = (await Promise.all(pushes)).map((results) => codes(results).join(" "));
      expect(outcomes.sort()).toEqual(["PE409 PE409 PE409", "applied applied applied"]);
      const ids = ["a", "b"].map((who) => `${who}${round}`);
      const [orders] = await t.db.query<{ ids: string[] }>(
        "select array_agg(id) as ids from shop.orders where id = any ($1)",
        [ids],
      );
      const [bought] = orders?.ids ?? [];
      for (const who of ids) {
        const kept = Object.keys(
          await t.asUser(who, async (tx) => {
            const rows = await tx.query<{ id: string }>(
              "select record_id as id from perch.records where app_id = 'shop'",
            );
            return Object.fromEntries(rows.map(({ id }) => [id, true]));
          }),
        );
        expect(kept.sort()).toEqual(who === bought ? ["after", "note", who].sort() : []);
      }
    }
  });

  it("at once from many devices sell what there is, each order whole, and the same order once", async () => {
    await t.db.query("insert into shop.stock values ('many', 12) on conflict (item) do update set count = 12");
    // Each order is sent twice, by two connections at once.
    const sent = Array.from({ length: 20 }, (_, n) => [n, n]).flat();
    const outcomes = await Promise.all(
      sent.map((n) => t.asUser(`buyer${n}`, (tx) => push(tx, [order(`m${n}`, ["many", 1])]))),
    );
    const applied = outcomes.filter(([result]) => result?.status === "applied");
    expect(applied).toHaveLength(12);
    const [left] = await t.db.query<{ stock: number; lines: number; orders: number }>(
      `select (select count from shop.stock where item = 'many') as stock, (select count(*)::int from shop.lines where item = 'many') as lines,
              (select count(*)::int from shop.orders where id like 'm%') as orders`,
    );
    expect(left).toEqual({ stock: 0, lines: 12, orders: 12 });
  });

  for (const how of ["sleep", "loop"]) {
    it(`that does not end (${how}) ends with its statement's time, and leaves nothing`, async () => {
      const slow = t.asUser("slow", async (tx) => {
        await tx.query("set local statement_timeout = 300");
        return push(tx, [insert("a"), call("misbehave", { how, id: "slow" })]);
      });
      await expect(slow).rejects.toMatchObject({ code: "57014" });
      expect(await t.asUser("slow", records)).toEqual({});
      expect(await t.db.query("select from shop.orders where id = 'slow'")).toEqual([]);
    });
  }

  it("of a session that is killed before its commit nothing is there, and of one that was answered all", async () => {
    for (let round = 0; round < 6; round += 1) {
      const id = `k${round}`;
      const killed = t.asUser("killed", async (tx) => {
        const results = await push(tx, [insert(`note-${id}`), order(id, ["book", 0]), insert(`after-${id}`)], true);
        expect(codes(results)).toEqual(["applied", "applied", "applied"]);
        const [own] = await tx.query<{ pid: number }>("select pg_backend_pid() as pid");
        if (round % 2 === 0) await t.db.query("select pg_terminate_backend($1, 60000)", [own?.pid]);
      });
      if (round % 2 === 0) await expect(killed).rejects.toThrow();
      else await killed;
      const [found] = await t.db.query<{ n: number }>(
        `select (select count(*) from shop.orders where id = $1)::int + (select count(*) from shop.lines where order_id = $1)::int
              + (select count(*) from perch.sync_changes where record_id in ($1, 'note-' || $1, 'after-' || $1))::int as n`,
        [id],
      );
      expect(found?.n).toBe(round % 2 === 0 ? 0 : 5);
    }
  });
});
