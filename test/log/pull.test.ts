import { beforeAll, describe, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { type Cursor, insert, pull, pullAll, push, remove, snapshot, update } from "./support.js";

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: { code: string; detail: unknown }) => ({ code: error.code, detail: error.detail }),
  );
const many = (count: number, more = {}) => Array.from({ length: count }, (_, n) => insert(`r${n}`, { n }, more));

describeEachEngine("A pull", (open) => {
  let t: TestDatabase;
  let user = 0;
  beforeAll(async () => {
    t = await open();
  });
  const nobody = () => `user${++user}`;
  const as = <T>(who: string, work: (tx: Transaction) => Promise<T>) => t.asUser(who, work);
  const refused = (who: string, options: Parameters<typeof pull>[1]) => failure(as(who, (tx) => pull(tx, options)));

  it("loses nothing at the end of a page, whatever its size", async () => {
    const me = nobody();
    await as(me, async (tx) => {
      await tx.query("select perch.create_space($1)", [`shared-${me}`]);
      await push(tx, [...many(7), ...many(5, { space_id: `shared-${me}` })]);
    });
    for (const pageSize of [1, 2, 3, 5, 7, 11, 12, 13, 10_000]) {
      await as(me, async (tx) => {
        const { changes } = await pullAll(tx, { pageSize });
        expect(changes.map(({ space_id, seq }) => `${space_id}:${seq}`)).toEqual([
          ...[1, 2, 3, 4, 5].map((seq) => `shared-${me}:${seq}`),
          ...[1, 2, 3, 4, 5, 6, 7].map((seq) => `~${me}:${seq}`),
        ]);
      });
    }
  });

  it("goes by number, so that entries with one and the same time are all seen", async () => {
    const me = nobody();
    await as(me, (tx) => push(tx, many(20)));
    const { changes } = await as(me, (tx) => pullAll(tx, { pageSize: 3 }));
    expect(new Set(changes.map(({ created_at }) => created_at)).size).toBe(1);
    expect(changes).toHaveLength(20);
  });

  it("brings the whole past of a space that is joined later, and names one that is left, once", async () => {
    const [ada, bob] = [nobody(), nobody()];
    const space = `team-${ada}`;
    await as(ada, async (tx) => {
      await tx.query("select perch.create_space($1)", [space]);
      await push(tx, many(3, { space_id: space }));
    });
    const before = await as(bob, (tx) => pullAll(tx));
    expect(before.changes).toEqual([]);
    await as(ada, (tx) => tx.query("select perch.set_space_member($1, $2, 'viewer')", [space, bob]));
    const joined = await as(bob, (tx) => pullAll(tx, { cursor: before.cursor, pageSize: 2 }));
    expect(joined.changes.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(joined.revoked_space_ids).toEqual([]);

    await as(ada, (tx) => tx.query("select perch.remove_space_member($1, $2)", [space, bob]));
    const left = await as(bob, (tx) => pull(tx, { cursor: joined.cursor }));
    expect(left).toMatchObject({ changes: [], revoked_space_ids: [space] });
    expect((await as(bob, (tx) => pull(tx, { cursor: left.cursor }))).revoked_space_ids).toEqual([]);
    // The answer was lost on its way: it is given again.
    expect((await as(bob, (tx) => pull(tx, { cursor: joined.cursor }))).revoked_space_ids).toEqual([space]);

    await as(ada, (tx) => tx.query("select perch.set_space_member($1, $2, 'viewer')", [space, bob]));
    const again = await as(bob, (tx) => pullAll(tx, { cursor: left.cursor }));
    expect(again.changes).toHaveLength(3);
  });

  it("shows deletions to those who see the space, and nothing of it to others", async () => {
    const [ada, bob, eve] = [nobody(), nobody(), nobody()];
    const space = `team-${ada}`;
    await as(ada, async (tx) => {
      await tx.query("select perch.create_space($1)", [space]);
      await tx.query("select perch.set_space_member($1, $2, 'viewer')", [space, bob]);
      await push(tx, [insert("x", { n: 1 }, { space_id: space }), remove("x", { space_id: space })]);
    });
    expect((await as(bob, (tx) => pull(tx))).changes.map(({ op, data }) => [op, data])).toEqual([
      ["insert", { n: 1 }],
      ["delete", null],
    ]);
    expect((await as(eve, (tx) => pull(tx))).changes).toEqual([]);
  });

  it("passes over other apps and tables, within bounds, and still gets to the end", async () => {
    const me = nobody();
    await as(me, async (tx) => {
      await push(tx, many(9000), "laptop", "another");
      await push(tx, [{ op: "insert", table: "lists", id: "l" }, insert("t")]);
    });
    await as(me, async (tx) => {
      const first = await pull(tx, { pageSize: 1 });
      expect(first).toMatchObject({ changes: [], has_more: true });
      expect((await pullAll(tx, { pageSize: 1 })).changes.map(({ id }) => id)).toEqual(["l", "t"]);
      expect((await pullAll(tx, { tables: ["lists"] })).changes.map(({ id }) => id)).toEqual(["l"]);
      expect((await pullAll(tx, { tables: [] })).changes).toEqual([]);
      expect((await pullAll(tx, { appId: "another", pageSize: 4000 })).changes).toHaveLength(9000);
    });
  });

  it("gives what is little and new, which takes fewer steps, as it gives all else", async () => {
    const me = nobody();
    const shared = `kinds-${me}`;
    await as(me, async (tx) => {
      await tx.query("select perch.create_space($1)", [shared]);
      await push(tx, [
        insert(
          "a",
          { n: 1.5, text: 'quotes " and \\', list: [1, null] },
          { actor: { id: "x" }, origin: "user", op_id: me },
        ),
        update("a", { n: 2 }, { field_meta: { n: "2026-01-01T10:00:00.000Z" } }),
        remove("a", { space_id: shared }),
        remove("a"),
        insert("a", { again: true }),
      ]);
    });
    // As of a document: its entries name fields, whose values are those of the record.
    await t.db.query(
      `with record as (
         insert into perch.stored_records
           (space_id, app_id, table_name, record_id, data, long_data, long_fields, latest_at, inserted_at, seq, user_id)
         values ($1, 'todo', 'pages', 'd', '{"title": "t", "other": 1}', '{"body": "b"}', '{body}', now(), now(), 3, 'x')),
       head as (update perch.space_heads set seq = 3, mark = null where space_id = $1)
       insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, changed_fields, at, user_id)
       values ($1, 2, 'todo', 'pages', 'd', 'insert', '{title,body}', now(), 'x'),
              ($1, 3, 'todo', 'pages', 'd', 'update', '{title,gone}', now(), 'x')`,
      [shared],
    );
    const alike = (count: number) =>
      as(me, async (tx) => {
        // All that is new fits on a page of 100, and on no smaller one that is asked for here.
        const whole = await pull(tx, { pageSize: 100 });
        expect(whole.changes).toHaveLength(count);
        for (const pageSize of [1, 3, count]) {
          const { changes, cursor } = await pullAll(tx, { pageSize });
          expect({ changes, cursor }).toEqual({ changes: whole.changes, cursor: whole.cursor });
        }
        expect((await pull(tx, { cursor: whole.cursor })).changes).toEqual([]);
        return whole.changes.map(({ table, data }) => (table === "pages" ? data : table));
      });
    const documents = [{ body: "b", title: "t" }, { title: "t" }];
    expect(await alike(7)).toEqual(["tasks", ...documents, ...Array(4).fill("tasks")]);
    await as(me, (tx) => push(tx, [insert("long", { text: "x".repeat(2_500) })]));
    expect(await alike(8)).toEqual(["tasks", ...documents, ...Array(5).fill("tasks")]);
  });

  it("cuts a page short when it would be too long, and always has one entry", async () => {
    const me = nobody();
    for (let n = 0; n < 10; n += 1) {
      await as(me, (tx) => push(tx, [insert(`r${n}`, { text: "x".repeat(n === 3 ? 200_000 : 20_000) })]));
    }
    await as(me, async (tx) => {
      await tx.query("select set_config('perch.page_bytes', '50000', true)");
      const sizes: number[] = [];
      let cursor: Cursor = {};
      for (let more = true; more; ) {
        const page = await pull(tx, { cursor });
        sizes.push(page.changes.length);
        ({ cursor, has_more: more } = page);
      }
      expect(sizes).toEqual([2, 1, 1, 2, 2, 2]);
    });
  });

  describe("without one's own echoes", () => {
    it("gives a wiped device its history back, and only then leaves them out", async () => {
      const me = nobody();
      for (const change of many(4)) await as(me, (tx) => push(tx, [change], "phone"));
      const first = await as(me, (tx) => pull(tx, { exclude: "phone", pageSize: 3 }));
      const rest = await as(me, (tx) => pull(tx, { exclude: "phone", pageSize: 3, cursor: first.cursor }));
      expect([first.changes.length, rest.changes.length, rest.has_more]).toEqual([3, 1, false]);
      await as(me, (tx) => push(tx, [update("r0", { n: 9 })], "phone"));
      await as(me, (tx) => push(tx, [update("r1", { n: 9 })], "laptop"));
      const later = await as(me, (tx) => pull(tx, { exclude: "phone", cursor: rest.cursor }));
      expect(later.changes.map(({ client_id }) => client_id)).toEqual(["laptop"]);
    });

    it("gives what others push under the name of one's own client", async () => {
      const [ada, eve] = [nobody(), nobody()];
      const space = `team-${ada}`;
      await as(ada, async (tx) => {
        await tx.query("select perch.create_space($1)", [space]);
        await tx.query("select perch.set_space_member($1, $2, 'editor')", [space, eve]);
        await push(tx, [insert("a", {}, { space_id: space })], "adas-phone");
      });
      const { cursor } = await as(ada, (tx) => pullAll(tx, { exclude: "adas-phone" }));
      await as(eve, (tx) => push(tx, [update("a", { price: 9_999 }, { space_id: space })], "adas-phone"));
      await as(ada, (tx) => push(tx, [update("a", { note: "mine" }, { space_id: space })], "adas-phone"));
      const { changes } = await as(ada, (tx) => pullAll(tx, { exclude: "adas-phone", cursor }));
      expect(changes).toMatchObject([{ user_id: eve, data: { price: 9_999 } }]);
    });

    it("gives back the history of a space that one has left and joined again", async () => {
      const [ada, bob] = [nobody(), nobody()];
      const space = `team-${ada}`;
      const member = (role: string) =>
        as(ada, (tx) => tx.query("select perch.set_space_member($1, $2, $3)", [space, bob, role]));
      await as(ada, (tx) => tx.query("select perch.create_space($1)", [space]));
      await member("editor");
      await as(bob, (tx) => push(tx, [insert("x", {}, { space_id: space })], "phone"));
      const one = await as(bob, (tx) => pull(tx, { exclude: "phone" }));
      await as(ada, (tx) => tx.query("select perch.remove_space_member($1, $2)", [space, bob]));
      const two = await as(bob, (tx) => pull(tx, { exclude: "phone", cursor: one.cursor }));
      await member("editor");
      const three = await as(bob, (tx) => pull(tx, { exclude: "phone", cursor: two.cursor }));
      expect(three.changes.map(({ id }) => id)).toEqual(["x"]);
    });
  });

  describe("refuses", () => {
    it("page sizes out of bounds", async () => {
      for (const pageSize of [0, -1, 10_001])
        expect(await refused(nobody(), { pageSize })).toMatchObject({ code: "PE422" });
    });

    it("a cursor of another app, of other tables, or that is none", async () => {
      const me = nobody();
      const { cursor } = await as(me, (tx) => pull(tx, { tables: ["tasks"] }));
      expect(await refused(me, { cursor, tables: ["tasks"] })).toBeUndefined();
      expect(await refused(me, { cursor, tables: ["tasks", "tasks"] })).toBeUndefined();
      for (const tables of [null, [], ["lists"], ["lists", "tasks"]])
        expect(await refused(me, { cursor, tables })).toMatchObject({ code: "PE422" });
      expect(await refused(me, { cursor, tables: ["tasks"], appId: "another" })).toMatchObject({ code: "PE422" });
      const broken: unknown[] = [
        { v: 3 },
        { v: 2 },
        [],
        5,
        "x",
        ...[["Infinity"], [-1], [1.5], [null], [], null, 1, { 0: 1 }, [1e30]].map((x) => ({
          ...cursor,
          spaces: { x },
        })),
        { ...cursor, spaces: [] },
        { ...cursor, behind: {} },
        { ...cursor, epoch: 5 },
      ];
      for (const one of broken) {
        expect(await refused(me, { cursor: one as Cursor, tables: ["tasks"] })).toMatchObject({ code: "PE422" });
      }
    });

    it("a cursor of another epoch, naming what has to be read anew", async () => {
      const own = await open();
      await own.asUser("ada", (tx) => push(tx, many(2)));
      const { cursor } = await own.asUser("ada", (tx) => pull(tx));
      await own.db.query("select perch.new_epoch()");
      expect(await failure(own.asUser("ada", (tx) => pull(tx, { cursor })))).toEqual({
        code: "PE410",
        detail: { spaces: [{ space_id: "~ada", reason: "epoch", oldest_seq: 1, latest_seq: 2 }] },
      });
      // The snapshot's cursor is of the new epoch, whatever it was given.
      const { cursor: renewed } = await own.asUser("ada", (tx) => snapshot(tx, { cursor }));
      expect((await own.asUser("ada", (tx) => pull(tx, { cursor: renewed }))).changes).toEqual([]);
    });

    it("a cursor that is ahead of the log", async () => {
      const me = nobody();
      await as(me, (tx) => push(tx, many(2)));
      const { cursor } = await as(me, (tx) => pull(tx));
      expect(await refused(me, { cursor: { ...cursor, spaces: { [`~${me}`]: [3, "12345678"] } } })).toEqual({
        code: "PE410",
        detail: { spaces: [{ space_id: `~${me}`, reason: "ahead", oldest_seq: 1, latest_seq: 2 }] },
      });
    });

    it("a cursor that is older than the log, also the empty one, until a snapshot was taken", async () => {
      const me = nobody();
      for (const change of many(10)) await as(me, (tx) => push(tx, [change]));
      const { cursor: old } = await as(me, (tx) => pull(tx, { pageSize: 3 }));
      const { cursor: just } = await as(me, (tx) => pull(tx, { pageSize: 6 }));
      await t.asWorker((tx) => tx.query("select perch.prune_changes('0', 4)"));
      const expired = {
        code: "PE410",
        detail: { spaces: [{ space_id: `~${me}`, reason: "expired", oldest_seq: 7, latest_seq: 10 }] },
      };
      expect(await refused(me, { cursor: old })).toEqual(expired);
      expect(await refused(me, {})).toEqual(expired);
      expect((await as(me, (tx) => pull(tx, { cursor: just }))).changes.map(({ seq }) => seq)).toEqual([7, 8, 9, 10]);
      const taken = await as(me, (tx) => snapshot(tx));
      expect(taken.records).toHaveLength(10);
      expect((await as(me, (tx) => pull(tx, { cursor: taken.cursor }))).changes).toEqual([]);
    });
  });

  describe("after a snapshot", () => {
    it("in pages gives every live record once and no deleted one, with stamps", async () => {
      const me = nobody();
      await as(me, async (tx) => {
        await push(tx, many(11, { at: "2026-01-01T10:00:00Z" }));
        await push(tx, [remove("r3"), update("r4", { m: 1 }, { at: "2026-01-01T11:00:00.5Z" })], "phone");
        for (const pageSize of [1, 3, 10, 11]) {
          const found: string[] = [];
          let after: string | null = null;
          do {
            const page = await snapshot(tx, { after, pageSize });
            found.push(...page.records.map(({ id }) => id));
            expect(page.cursor.spaces).toEqual({ [`~${me}`]: [13, expect.stringMatching(/^[0-9a-f]{13}$/)] });
            after = page.next;
          } while (after !== null);
          expect(found).toEqual(["r0", "r1", "r10", "r2", "r4", "r5", "r6", "r7", "r8", "r9"]);
        }
        const page = await snapshot(tx);
        expect(page.records.find(({ id }) => id === "r4")).toMatchObject({
          data: { n: 4, m: 1 },
          field_meta: { n: "2026-01-01T10:00:00.000000Z laptop", m: "2026-01-01T11:00:00.500000Z phone" },
          seq: 13,
        });
      });
    });

    it("goes on for all spaces of a client, each read anew on its own", async () => {
      const me = nobody();
      await as(me, async (tx) => {
        await tx.query("select perch.create_space($1)", [`s-${me}`]);
        await push(tx, [...many(5), ...many(5, { space_id: `s-${me}` })]);
        const { cursor } = await pullAll(tx);
        await push(tx, many(2, { space_id: `s-${me}` }));
        const taken = await snapshot(tx, { cursor, space: null });
        expect(
          (await pullAll(tx, { cursor: taken.cursor })).changes.map(({ space_id, seq }) => [space_id, seq]),
        ).toEqual([
          [`s-${me}`, 6],
          [`s-${me}`, 7],
        ]);
      });
    });

    it("is refused for spaces one may not read, and with a token of another space or none", async () => {
      const me = nobody();
      expect(await failure(as(me, (tx) => snapshot(tx, { space: "~somebody" })))).toMatchObject({ code: "PE403" });
      for (const after of ["x", "", "bnVsbA==", Buffer.from('[1,"e","~other",0,"",""]').toString("base64")]) {
        expect(await failure(as(me, (tx) => snapshot(tx, { after })))).toMatchObject({ code: "PE422" });
      }
    });
  });
});
