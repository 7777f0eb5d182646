import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { createGate, type Gate, lockWaiters } from "../support/locks.js";
import { underWay } from "../support/until.js";
import { failureOf } from "./failure.js";

const create = (tx: Transaction, space: string) => tx.query("select perch.create_space(space_id => $1)", [space]);
const set = (tx: Transaction, space: string, user: string, role: string | null) =>
  tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => $3)", [space, user, role]);
const remove = (tx: Transaction, space: string, user: string) =>
  tx.query("select perch.remove_space_member(space_id => $1, user_id => $2)", [space, user]);
const members = async (t: TestDatabase, space: string) => {
  const rows = await t.db.query<{ user_id: string; role: string }>(
    "select user_id, role from perch.space_members where space_id = $1 order by user_id",
    [space],
  );
  return Object.fromEntries(rows.map(({ user_id, role }) => [user_id, role]));
};
/** A shared space of olga (owner), eddy (editor) and vera (viewer). */
const team = async (t: TestDatabase, space: string) => {
  await t.asUser("olga", async (tx) => {
    await create(tx, space);
    await set(tx, space, "eddy", "editor");
    await set(tx, space, "vera", "viewer");
  });
};
const mayWrite = (tx: Transaction, space: string) =>
  tx.query("select perch.lock_document(app_id => 'a', table_name => 't', record_id => 'r', space_id => $1)", [space]);

describeEachEngine("spaces", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });

  it("belong to whoever creates them, who may use them at once", async () => {
    await t.asUser("olga", async (tx) => {
      await create(tx, "fresh");
      await mayWrite(tx, "fresh");
      await create(tx, "fresh");
    });
    expect(await members(t, "fresh")).toEqual({ olga: "owner" });
  });

  it("are refused to a second creator, and to one who names a personal space or an unusable id", async () => {
    await team(t, "taken");
    for (const user of ["otto", "eddy", "vera"]) {
      await expect(t.asUser(user, (tx) => create(tx, "taken"))).rejects.toMatchObject({ code: "PE409" });
    }
    await expect(t.asUser("otto", (tx) => create(tx, "~olga"))).rejects.toMatchObject({ code: "PE422" });
    await expect(t.asUser("otto", (tx) => create(tx, "~otto"))).rejects.toMatchObject({ code: "PE422" });
    await expect(t.asUser("otto", (tx) => create(tx, ""))).rejects.toMatchObject({ code: "PE422" });
    await expect(t.asUser("otto", (tx) => create(tx, "x".repeat(257)))).rejects.toMatchObject({ code: "PE413" });
  });

  it("are refused to a creator when anything at all is there under the id, in whichever table", async () => {
    const columns = await t.db.query<{ relation: string; names: string[]; types: string[] }>(`
      select c.relname as relation, array_agg(a.attname::text) as names, array_agg(format_type(a.atttypid, null)) as types
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
       where c.relnamespace = 'perch'::regnamespace and c.relkind in ('r', 'p')
         and (a.attname = 'space_id' or a.attnotnull and not a.atthasdef)
       group by c.relname having 'space_id' = any (array_agg(a.attname))`);
    const samples: Record<string, unknown> = {
      text: "x",
      bigint: 1,
      integer: 1,
      bytea: "\\x01",
      jsonb: {},
      "timestamp with time zone": "2026-01-01T00:00:00Z",
      uuid: "00000000-0000-4000-8000-000000000001",
      regclass: "pg_class",
    };
    const usual = {
      kind: "ephemeral",
      purpose: "write",
      role: "owner",
      peer_id: "\\x01",
      first: 0,
      next: 1,
      txid: "3",
      invitation_id: "0".repeat(64),
      uses_left: 1,
      patch: {},
    };
    const undetected: string[] = [];
    for (const { relation, names, types } of columns) {
      const space = `used-${relation}`;
      const row = Object.fromEntries(names.map((name, n) => [name, samples[types[n] as string]]));
      await t.db
        .transaction(async (tx) => {
          const known = Object.entries(relation === "document_inbox" ? { kind: "patch", patch: {} } : usual);
          const own = await tx.query<{ name: string }>(
            "select attname::text as name from pg_attribute where attrelid = format('perch.%I', $1::text)::regclass",
            [relation],
          );
          const fitting = known.filter(([name]) => own.some((column) => column.name === name));
          const sample = { ...row, ...Object.fromEntries(fitting), space_id: space };
          if (relation === "space_members" || relation === "space_invitations")
            await tx.query("insert into perch.spaces values ($1, 'zoe')", [space]);
          await tx.query(
            `insert into perch.${relation} (${Object.keys(sample)}) select ${Object.keys(sample)}
             from jsonb_populate_record(null::perch.${relation}, $1::jsonb)`,
            [JSON.stringify(sample)],
          );
          await tx.query("set local role perch_app");
          await tx.query("select perch.set_context(user_id => 'mallory')");
          const refused = await failureOf(tx, (inner) => create(inner, space));
          if ((refused as { code?: string } | undefined)?.code !== "PE409") undetected.push(relation);
          await tx.query("select perch.create_space(space_id => 'never-used')");
          throw new Error("undone");
        })
        .catch((error: Error) => expect(`${relation}: ${error.message}`).toBe(`${relation}: undone`));
    }
    // Receipts stand in personal spaces, which nobody creates.
    expect(undetected).toEqual(["push_receipts"]);
    expect(columns.length).toBeGreaterThan(15);
  });

  it("are refused to a creator when rows of a synced table are there, though they stood in it before it was synced", async () => {
    const tables = `
      create table public.old_orders (id text primary key, team text not null, total integer);
      insert into public.old_orders values ('o1', 'old-team', 77), ('o2', '9', 78), ('o3', 'nine', 79);
      create table public.old_visits (id text primary key, place uuid not null);
      insert into public.old_visits values ('v1', '00000000-0000-4000-8000-000000000001');
      create table public.old_parts (id text primary key, part text not null);
      insert into public.old_parts select id, team from public.old_orders;`;
    await t.db.transaction((tx) => tx.script(tables));
    for (const [table, options] of [
      ["old_orders", "space_column => 'team'"],
      ["old_visits", "space_column => 'place'"],
      // Fails for all rows but one.
      ["old_parts", "space_expression => $$'part-' || part::integer$$"],
    ] as const)
      await t.db.query(`select perch.sync_table(relation => 'public.${table}', app_id => 'shop', ${options})`);
    for (const taken of ["old-team", "00000000-0000-4000-8000-000000000001", "part-9"])
      await expect(t.asUser("mallory", (tx) => create(tx, taken))).rejects.toMatchObject({ code: "PE409" });
    await t.asUser("mallory", (tx) => create(tx, "part-nine"));
  });

  it("are there to be made where a table has all of its rows in one of them", async () => {
    await t.db.query("create table posters (id int primary key)");
    await t.db.query("insert into posters values (1)");
    await t.db.query("select perch.sync_table(relation => 'posters', app_id => 'a', space_id => 'walls')");
    await t.asUser("wanda", (tx) => create(tx, "elsewhere than walls"));
    await expect(t.asUser("wanda", (tx) => create(tx, "walls"))).rejects.toMatchObject({ code: "PE409" });
  });

  it("show whoever has left nothing that is written later, also not in what they made; what they wrote they may take along", async () => {
    await t.db.query(
      "select perch.declare_table(app_id => 'notes', table_name => 'pages', fields => '{\"title\": \"string\"}')",
    );
    await team(t, "secret");
    const push = (user: string, changes: object[]) =>
      t.asUser(user, (tx) =>
        tx.query("select perch.push(app_id => 'notes', client_id => 'c', changes => $1::jsonb)", [
          JSON.stringify(changes.map((change) => ({ table: "tasks", id: "t1", space_id: "secret", ...change }))),
        ]),
      );
    const projected = (title: string, seq: number) =>
      t.asWorker(async (tx) => {
        const key = "'secret', 'notes', 'pages', 'p1'";
        await tx.query(`select perch.claim_inbox(${key})`);
        await tx.query(`select perch.finish_inbox(${key}, $1, '\\x01', null)`, [seq]);
        await tx.query(`select perch.project_document(${key}, $1, $2, 10)`, [seq + 1, JSON.stringify({ title })]);
      });
    await push("eddy", [
      { op: "insert", data: { title: "EDDY" } },
      { op: "update", table: "pages", id: "p1", data: { title: "EDDY" } },
    ]);
    await projected("EDDY", 1);
    await t.asUser("olga", (tx) => remove(tx, "secret", "eddy"));
    await push("olga", [
      { op: "update", data: { title: "OLGA", more: "OLGA" } },
      { op: "update", table: "pages", id: "p1", data: { title: "OLGA" } },
    ]);
    await projected("OLGA", 3);
    await t.asUser("eddy", async (tx) => {
      for (const view of ["records", "stored_records", "sync_changes", "documents"])
        expect(await tx.query(`select from perch.${view} where space_id = 'secret'`)).toEqual([]);
      const exported = await tx.query<{ change: object }>("select perch.export_changes() as change");
      expect(exported).toMatchObject([
        { change: { space_id: "secret", table: "tasks", op: "insert", data: { title: "EDDY" } } },
        // An edit of a document is kept as an update, not as values.
        { change: { space_id: "secret", table: "pages", op: "insert", data: {} } },
      ]);
      expect(JSON.stringify(exported)).not.toContain("OLGA");
    });
  });

  it("that an app manages through lists cannot be taken over by creating them, only be created by one who may write", async () => {
    await t.db.query(
      "select perch.declare_table(app_id => 'notes', table_name => 'pages', fields => '{\"title\": \"string\"}')",
    );
    const listed = <T>(user: string, lists: string, work: (tx: Transaction) => Promise<T>) =>
      t.asUser(user, async (tx) => {
        await tx.query(`select perch.set_context(user_id => $1, ${lists})`, [user]);
        return work(tx);
      });
    await listed("ada", "writable_space_ids => '{project}'", (tx) =>
      tx.query(
        `select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => 'p', patch => '{"title": "x"}', space_id => 'project')`,
      ),
    );
    await expect(t.asUser("mallory", (tx) => create(tx, "project"))).rejects.toMatchObject({ code: "PE409" });
    await expect(listed("vic", "space_ids => '{project}'", (tx) => create(tx, "project"))).rejects.toMatchObject({
      code: "PE409",
    });
    await listed("ada", "writable_space_ids => '{project}'", (tx) => create(tx, "project"));
    expect(await members(t, "project")).toEqual({ ada: "owner" });
  });

  it("that an app has managed through lists are adopted by a DBA: memberships from then on, for whoever the owner adds", async () => {
    const listed = (user: string, work: (tx: Transaction) => Promise<unknown>) =>
      t.asUser(user, async (tx) => {
        await tx.query("select perch.set_context(user_id => $1, writable_space_ids => '{guild}')", [user]);
        return work(tx);
      });
    const pushes = (tx: Transaction, id: string) =>
      tx.query("select perch.push(app_id => 'todo', client_id => 'c', changes => $1::jsonb)", [
        JSON.stringify([{ op: "insert", table: "tasks", id, space_id: "guild", data: {} }]),
      ]);
    await listed("ada", (tx) => pushes(tx, "before"));
    await expect(t.asUser("mallory", (tx) => create(tx, "guild"))).rejects.toMatchObject({ code: "PE409" });
    const adopt = "select perch.adopt_space(space_id => 'guild', owner_id => $1)";
    await expect(t.asUser("mallory", (tx) => tx.query(adopt, ["mallory"]))).rejects.toMatchObject({ code: "42501" });
    await expect(t.asWorker((tx) => tx.query(adopt, ["mallory"]))).rejects.toMatchObject({ code: "42501" });

    // In a transaction of somebody's, who stays who they are.
    await t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context(user_id => 'dba')");
      await tx.query(adopt, ["ada"]);
      const [me] = await tx.query("select perch.current_user_id() as id, perch.current_space_ids() as spaces");
      expect(me).toEqual({ id: "dba", spaces: ["~dba"] });
    });
    expect(await members(t, "guild")).toEqual({ ada: "owner" });
    await t.asUser("ada", (tx) =>
      tx.query("select perch.set_space_member(space_id => 'guild', user_id => 'ben', role => 'editor')"),
    );
    const seen = await t.asUser("ben", (tx) =>
      tx.query("select record_id from perch.records where space_id = 'guild'"),
    );
    expect(seen).toEqual([{ record_id: "before" }]);
    // A token that names the space goes on as before, again changes nothing, and it is nobody else's to have.
    await listed("cleo", (tx) => pushes(tx, "after"));
    await t.db.query(adopt, ["ada"]);
    expect(await members(t, "guild")).toEqual({ ada: "owner", ben: "editor" });
    await expect(t.db.query(adopt, ["cleo"])).rejects.toMatchObject({ code: "PE409" });
  });

  it("show their members to the members only", async () => {
    await team(t, "shown");
    const seen = (user: string) =>
      t.asUser(user, (tx) => tx.query("select user_id from perch.space_members where space_id = 'shown'"));
    expect(await seen("vera")).toHaveLength(3);
    expect(await seen("otto")).toEqual([]);
  });

  it("let owners manage members, and nobody else", async () => {
    await team(t, "managed");
    for (const user of ["eddy", "vera", "otto"]) {
      await expect(t.asUser(user, (tx) => set(tx, "managed", user, "owner"))).rejects.toMatchObject({ code: "PE403" });
      await expect(t.asUser(user, (tx) => remove(tx, "managed", "olga"))).rejects.toMatchObject({ code: "PE403" });
    }
    await t.asUser("olga", (tx) => set(tx, "managed", "eddy", "owner"));
    await t.asUser("eddy", (tx) => set(tx, "managed", "otto", "viewer"));
    await t.asUser("eddy", (tx) => remove(tx, "managed", "olga"));
    expect(await members(t, "managed")).toEqual({ eddy: "owner", otto: "viewer", vera: "viewer" });
  });

  it("give an owner whose token lets only read no right over members, nor the right to leave", async () => {
    const t = await open();
    await t.asUser("olga", (tx) => tx.query("select perch.create_space('team')"));
    const calls = [
      "set_space_member('team', 'eve', 'owner')",
      "remove_space_member('team', 'olga')",
      "remove_space_member('team', 'nobody')",
      "invite_to_space('team', 'owner')",
      "revoke_invitation('team')",
    ];
    for (const call of calls) {
      const reading = t.asUser("olga", async (tx) => {
        await tx.query("select perch.set_context(user_id => 'olga', space_ids => '{team}')");
        await tx.query(`select perch.${call}`);
      });
      await expect(reading, call).rejects.toEqual(expect.objectContaining({ code: "PE403" }));
    }
  });

  it("are made by one user up to a limit, so that nobody puts others into spaces without end", async () => {
    const t = await open();
    await t.db.query("select perch.set_limit('max_spaces_made', 3)");
    const make = (space: string) =>
      t.asUser("mallory", async (tx) => {
        await create(tx, space);
        await set(tx, space, "bob", "owner");
        await remove(tx, space, "mallory");
      });
    for (const space of ["m1", "m2", "m3"]) await make(space);
    await expect(make("m4")).rejects.toMatchObject({ code: "PE413", detail: { limit: "max_spaces_made", max: 3 } });
    await t.asUser("olga", (tx) => create(tx, "o1"));
  });

  it("that a token lists do not make their user an owner", async () => {
    await team(t, "vouched");
    const attempt = t.asUser("otto", async (tx) => {
      await tx.query("select perch.set_context(user_id => 'otto', writable_space_ids => '{vouched}')");
      await set(tx, "vouched", "otto", "owner");
    });
    await expect(attempt).rejects.toMatchObject({ code: "PE403" });
  });

  it("refuse an unknown role and an unusable user", async () => {
    await team(t, "strict");
    for (const role of ["admin", "", "OWNER", null]) {
      const attempt = t.asUser("olga", (tx) => set(tx, "strict", "ann", role));
      await expect(attempt).rejects.toMatchObject({ code: "PE422" });
    }
    await expect(t.asUser("olga", (tx) => set(tx, "strict", "", "editor"))).rejects.toMatchObject({ code: "PE422" });
  });

  it("keep their last owner, who can neither leave, nor be removed, nor become less", async () => {
    await team(t, "owned");
    await expect(t.asUser("olga", (tx) => remove(tx, "owned", "olga"))).rejects.toMatchObject({ code: "PE409" });
    await expect(t.asUser("olga", (tx) => set(tx, "owned", "olga", "editor"))).rejects.toMatchObject({ code: "PE409" });
    await t.asUser("olga", (tx) => set(tx, "owned", "eddy", "owner"));
    await t.asUser("olga", (tx) => remove(tx, "owned", "olga"));
    await expect(t.asUser("eddy", (tx) => remove(tx, "owned", "eddy"))).rejects.toMatchObject({ code: "PE409" });
    expect(await members(t, "owned")).toEqual({ eddy: "owner", vera: "viewer" });
  });

  it("shut a removed member out at once, also in the transaction in which it left", async () => {
    await team(t, "left");
    await t.asUser("eddy", async (tx) => {
      await mayWrite(tx, "left");
      await remove(tx, "left", "eddy");
      expect(await failureOf(tx, (tx) => mayWrite(tx, "left"))).toMatchObject({ code: "PE403" });
    });
    await expect(t.asUser("eddy", (tx) => mayWrite(tx, "left"))).rejects.toMatchObject({ code: "PE403" });
    const demoted = t.asUser("olga", async (tx) => {
      await set(tx, "left", "ann", "owner");
      await set(tx, "left", "olga", "viewer");
      await mayWrite(tx, "left");
    });
    await expect(demoted).rejects.toMatchObject({ code: "PE403" });
  });

  it("do not let a creator who was removed make itself an owner again", async () => {
    await team(t, "founded");
    await t.asUser("olga", (tx) => set(tx, "founded", "eddy", "owner"));
    await t.asUser("eddy", (tx) => remove(tx, "founded", "olga"));
    await expect(t.asUser("olga", (tx) => create(tx, "founded"))).rejects.toMatchObject({ code: "PE409" });
    const owner = await t.login("perch_owner");
    const attempt = owner.transaction(async (tx) => {
      await tx.query("set local role perch_owner");
      await tx.query("select perch.set_context(user_id => 'olga')");
      await tx.query("insert into perch.space_members (space_id, user_id, role) values ('founded', 'olga', 'owner')");
    });
    await expect(attempt).rejects.toMatchObject({ code: "42501" });
    expect(await members(t, "founded")).toEqual({ eddy: "owner", vera: "viewer" });
  });

  it("notify when their members change", async () => {
    const notified: string[] = [];
    const subscription = await t.db.listen(["perch_changes"], {
      notify: (_, payload) => notified.push(payload),
      ready() {},
    });
    await team(t, "notified");
    await expect
      .poll(() => notified.map((payload) => JSON.parse(payload)))
      .toEqual([{ v: 1, space_id: "notified", seq: 0 }]);
    await subscription.close();
  });
});

describeEachPostgres("spaces under concurrency", (open) => {
  it("have one creator of twenty at once", async () => {
    const t = await open();
    const attempts = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) => t.asUser(`user${n}`, (tx) => create(tx, "contested"))),
    );
    expect(attempts.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(Object.values(await members(t, "contested"))).toEqual(["owner"]);
  });

  it("are made once by one user who asks for one twenty times at once", async () => {
    const t = await open();
    await Promise.all(Array.from({ length: 20 }, () => t.asUser("olga", (tx) => create(tx, "wanted"))));
    expect(await members(t, "wanted")).toEqual({ olga: "owner" });
  });

  /** Runs `first` up to its commit, starts `second`, which waits for it, lets the first commit. Out: how both ended. */
  const overlapping = async (
    { db }: TestDatabase,
    { open: commit, reached }: Gate,
    first: () => Promise<unknown>,
    second: () => Promise<unknown>,
  ) => {
    const one = underWay(first());
    await Promise.race([reached, one]);
    const two = underWay(second());
    await lockWaiters(db);
    commit();
    return Promise.allSettled([one, two]);
  };

  for (const isolation of ["read committed", "repeatable read"]) {
    it(`keep an owner when two owners remove each other at once (${isolation})`, async () => {
      const t = await open();
      await team(t, "pair");
      await t.asUser("olga", (tx) => set(tx, "pair", "eddy", "owner"));
      const hold = createGate();
      const as = async (me: string, other: string, commit?: Gate) =>
        t.db.transaction(async (tx) => {
          await tx.query(`set transaction isolation level ${isolation}`);
          await tx.query("set local role perch_app");
          await tx.query("select perch.set_context(user_id => $1)", [me]);
          await remove(tx, "pair", other);
          await commit?.pass();
        });
      const ended = await overlapping(
        t,
        hold,
        () => as("olga", "eddy", hold),
        () => as("eddy", "olga"),
      );
      expect(ended.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
      expect(await members(t, "pair")).toEqual({ olga: "owner", vera: "viewer" });
    });

    it(`keep an owner when both of two owners leave at once (${isolation})`, async () => {
      const t = await open();
      await team(t, "exodus");
      await t.asUser("olga", (tx) => set(tx, "exodus", "eddy", "owner"));
      const hold = createGate();
      const leave = async (me: string, commit?: Gate) =>
        t.db.transaction(async (tx) => {
          await tx.query(`set transaction isolation level ${isolation}`);
          await tx.query("set local role perch_app");
          await tx.query("select perch.set_context(user_id => $1)", [me]);
          await remove(tx, "exodus", me);
          await commit?.pass();
        });
      const ended = await overlapping(
        t,
        hold,
        () => leave("olga", hold),
        () => leave("eddy"),
      );
      expect(ended.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
      expect(Object.values(await members(t, "exodus"))).toContain("owner");
    });
  }

  it("keep an owner when a member leaves while it is made the owner in place of another", async () => {
    const t = await open();
    await team(t, "handover");
    const hold = createGate();
    const ended = await overlapping(
      t,
      hold,
      () =>
        t.asUser("olga", async (tx) => {
          await set(tx, "handover", "eddy", "owner");
          await remove(tx, "handover", "olga");
          await hold.pass();
        }),
      () => t.asUser("eddy", (tx) => remove(tx, "handover", "eddy")),
    );
    expect(ended[0]?.status).toBe("fulfilled");
    expect(ended[1]).toMatchObject({ status: "rejected", reason: { code: "PE409" } });
    expect(await members(t, "handover")).toEqual({ eddy: "owner", vera: "viewer" });
  });
});
