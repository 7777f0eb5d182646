import { beforeAll, describe, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { codes, insert, pull, pullAll, push, type Result, records, remove, update } from "./support.js";

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: { code: string; detail: unknown }) => ({ code: error.code, detail: error.detail }),
  );

/** JSON as text, for what JSON.stringify would not write. */
const pushText = (tx: Transaction, changes: string) =>
  tx
    .query<{ answer: { results: Result[] } }>("select perch.push('todo', $1::jsonb, 'laptop') as answer", [changes])
    .then(([row]) => row?.answer.results ?? []);

describeEachEngine("A push", (open) => {
  let t: TestDatabase;
  let user = 0;
  /** A transaction of somebody who has nothing yet. */
  const asNew = <T>(work: (tx: Transaction, me: string) => Promise<T>) => {
    const me = `user${++user}`;
    return t.asUser(me, (tx) => work(tx, me));
  };
  beforeAll(async () => {
    t = await open();
  });

  describe("answers", () => {
    it("with one result a change, by position, each naming its op_id, space and seq", async () => {
      await asNew(async (tx, me) => {
        await tx.query("select perch.create_space($1)", [`shared-${me}`]);
        const results = await push(tx, [
          insert("a", {}, { op_id: "1" }),
          insert("b", {}, { op_id: "2", space_id: `shared-${me}` }),
          { op: "explode", table: "tasks", id: "c", op_id: "3" },
          insert("d", {}, { op_id: "4", space_id: "elsewhere" }),
          insert("e"),
        ]);
        expect(results.map(({ op_id, status, space_id, seq }) => [op_id, status, space_id, seq])).toEqual([
          ["1", "applied", `~${me}`, 1],
          ["2", "applied", `shared-${me}`, 1],
          ["3", "rejected", `~${me}`, null],
          ["4", "rejected", "elsewhere", null],
          [null, "applied", `~${me}`, 2],
        ]);
        expect(codes(results)).toEqual(["applied", "applied", "PE422", "PE403", "applied"]);
        for (const { error } of [results[2], results[3]] as Result[])
          expect(error?.message).toMatch(/^(invalid|forbidden): /);
      });
    });

    it("so that one bad change harms no other, wherever it stands", async () => {
      const bad = { op: "insert", table: "tasks" };
      for (const place of [0, 1, 2, 3]) {
        await asNew(async (tx, me) => {
          const good = ["a", "b", "c"].map((id) => insert(id, { n: 1 }) as unknown);
          good.splice(place, 0, bad);
          const results = await push(tx, good);
          expect(codes(results)).toEqual(good.map((change) => (change === bad ? "PE422" : "applied")));
          expect(Object.keys(await records(tx))).toEqual([`~${me}/tasks/a`, `~${me}/tasks/b`, `~${me}/tasks/c`]);
        });
      }
    });

    it("an empty push with no results", async () => {
      expect(await asNew((tx) => push(tx, []))).toEqual([]);
    });

    it("each for itself to several changes of one record", async () => {
      await asNew(async (tx, me) => {
        const results = await push(tx, [
          insert("a", { n: 1 }, { at: "2026-01-01T10:00:00Z" }),
          update("a", { n: 3 }, { at: "2026-01-01T10:00:02Z" }),
          update("a", { n: 2, m: 1 }, { at: "2026-01-01T10:00:01Z" }),
        ]);
        expect(results.map(({ seq }) => seq)).toEqual([1, 2, 3]);
        expect(await records(tx)).toEqual({ [`~${me}/tasks/a`]: { n: 3, m: 1 } });
      });
    });
  });

  describe("refuses", () => {
    const of = (change: unknown) => ({ alone: [change], among: [insert("good"), change, insert("better")] });
    const long = (bytes: number) => "x".repeat(bytes);
    const deep = (levels: number) => JSON.parse(`${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`);
    const cases: [string, unknown, string][] = [
      ["what is not an object", 5, "PE422"],
      ["null", null, "PE422"],
      ["a list", [1], "PE422"],
      ["an unknown key", { ...insert("x"), colour: "red" }, "PE422"],
      ["an unknown op", { ...insert("x"), op: "upsert" }, "PE422"],
      ["an op of another type", { ...insert("x"), op: 1 }, "PE422"],
      ["no table", { op: "insert", id: "x" }, "PE422"],
      ["no id", { op: "insert", table: "tasks" }, "PE422"],
      ["an empty id", insert(""), "PE422"],
      ["a number as id", { ...insert("x"), id: 5 }, "PE422"],
      ["a number as table", { ...insert("x"), table: 5 }, "PE422"],
      ["an over-long id", insert(long(257)), "PE413"],
      ["an over-long table", { ...insert("x"), table: long(129) }, "PE413"],
      ["an over-long op_id", insert("x", {}, { op_id: long(257) }), "PE413"],
      ["an empty op_id", insert("x", {}, { op_id: "" }), "PE422"],
      ["a number as op_id", insert("x", {}, { op_id: 7 }), "PE422"],
      ["an over-long origin", insert("x", {}, { origin: long(257) }), "PE413"],
      ["an over-long space", insert("x", {}, { space_id: long(257) }), "PE413"],
      ["a space of another type", insert("x", {}, { space_id: {} }), "PE422"],
      ["an empty space", insert("x", {}, { space_id: "" }), "PE422"],
      ["control characters in the id", insert("a\u0001b"), "PE422"],
      ["control characters in the table", { ...insert("x"), table: "a\nb" }, "PE422"],
      ["control characters in the op_id", insert("x", {}, { op_id: "a\tb" }), "PE422"],
      ["control characters in the origin", insert("x", {}, { origin: "a\u007fb" }), "PE422"],
      ["data that is not an object", { ...insert("x"), data: [1] }, "PE422"],
      ["data of a deletion", { ...remove("x"), data: { n: 1 } }, "PE422"],
      ["field_meta that is not an object", insert("x", { n: 1 }, { field_meta: "now" }), "PE422"],
      [
        "field_meta of a field that is not in data",
        insert("x", { n: 1 }, { field_meta: { m: "2026-01-01T10:00:00Z" } }),
        "PE422",
      ],
      ["a field's time that is none", insert("x", { n: 1 }, { field_meta: { n: "yesterday" } }), "PE422"],
      ["a field's time of another type", insert("x", { n: 1 }, { field_meta: { n: 5 } }), "PE422"],
      ["a field's time of null", insert("x", { n: 1 }, { field_meta: { n: null } }), "PE422"],
      ["a time that is a word", insert("x", {}, { at: "infinity" }), "PE422"],
      ["a time without a zone", insert("x", {}, { at: "2026-01-01T10:00:00" }), "PE422"],
      ["a date", insert("x", {}, { at: "2026-01-01" }), "PE422"],
      ["a time that does not exist", insert("x", {}, { at: "2026-02-30T10:00:00Z" }), "PE422"],
      ["a 13th month", insert("x", {}, { at: "2026-13-01T10:00:00Z" }), "PE422"],
      ["a number as time", insert("x", {}, { at: 1767261600 }), "PE422"],
      ["a schema_version of 0", insert("x", {}, { schema_version: 0 }), "PE422"],
      ["a schema_version of 1.5", insert("x", {}, { schema_version: 1.5 }), "PE422"],
      ["a schema_version of 1e30", insert("x", {}, { schema_version: 1e30 }), "PE422"],
      ["a schema_version as text", insert("x", {}, { schema_version: "1" }), "PE422"],
      ["a negative base_seq", insert("x", {}, { base_seq: -1 }), "PE422"],
      ["Infinity as base_seq", insert("x", {}, { base_seq: "Infinity" }), "PE422"],
      ["a base_seq of 1e300", insert("x", {}, { base_seq: 1e300 }), "PE422"],
      ["an actor that is no object", insert("x", {}, { actor: "ada" }), "PE422"],
      ["an origin that is no text", insert("x", {}, { origin: {} }), "PE422"],
      ["JSON that is nested too deeply", insert("x", deep(200)), "PE422"],
      ["10 MB of data", insert("x", { text: long(10_000_000) }), "PE413"],
      ["a space one may not write", insert("x", {}, { space_id: "elsewhere" }), "PE403"],
      ["another user's personal space", insert("x", {}, { space_id: "~somebody" }), "PE403"],
    ];
    for (const [name, change, code] of cases) {
      it(`${name}, alone and among others`, async () => {
        await asNew(async (tx) => {
          const { alone, among } = of(change);
          expect(codes(await push(tx, alone))).toEqual([code]);
          expect(codes(await push(tx, among))).toEqual(["applied", code, "applied"]);
          expect((await pull(tx)).changes.map(({ id }) => id)).toEqual(["good", "better"]);
        });
      });
    }

    it("a change that is small as JSON and endless as text", async () => {
      await asNew(async (tx) => {
        const numbers = Array.from({ length: 30 }, () => "1e100000").join(",");
        const results = await pushText(
          tx,
          `[{"op": "insert", "table": "tasks", "id": "x", "data": {"n": [${numbers}]}}]`,
        );
        expect(codes(results)).toEqual(["PE413"]);
      });
    });

    it("as a whole: what is not a list, too many changes, unusable ids of app and client", async () => {
      const whole = async (changes: unknown, client: string | null = "laptop", app = "todo") =>
        failure(asNew((tx) => push(tx, changes, client, app)));
      expect(await whole({ changes: [] })).toMatchObject({ code: "PE422" });
      expect(await whole("x")).toMatchObject({ code: "PE422" });
      expect(await whole(null)).toMatchObject({ code: "PE422" });
      expect(await whole(Array.from({ length: 100_000 }, (_, n) => insert(`${n}`)))).toMatchObject({
        code: "PE413",
        detail: { limit: "max_changes_per_push", max: 10_000, got: 100_000 },
      });
      expect(await whole([insert("x")], "")).toMatchObject({ code: "PE422" });
      expect(await whole([insert("x")], "a\u0002")).toMatchObject({ code: "PE422" });
      expect(await whole([insert("x")], long(300))).toMatchObject({ code: "PE413" });
      expect(await whole([insert("x")], "laptop", "")).toMatchObject({ code: "PE422" });
      expect(await whole([insert("x")], "laptop", long(65))).toMatchObject({ code: "PE413" });
    });

    it("everything of nobody", async () => {
      const nobody = t.db.transaction(async (tx) => {
        await tx.query("set local role perch_app");
        await push(tx, [insert("x")]);
      });
      expect(await failure(nobody)).toMatchObject({ code: "PE401" });
    });

    it("NUL in text before it comes to perch: jsonb itself does not take it", async () => {
      expect(await failure(asNew((tx) => push(tx, [insert("a\u0000b")])))).toMatchObject({ code: "22P05" });
    });
  });

  describe("keeps", () => {
    it("actor, origin and what is written as it came", async () => {
      await asNew(async (tx) => {
        const made = insert(
          "x",
          { n: null, list: [1, { a: null }], text: "é\u2028" },
          { actor: { id: 1, via: [null] }, origin: "import" },
        );
        await push(tx, [made]);
        const [entry] = (await pull(tx)).changes;
        expect(entry).toMatchObject({ actor: made.actor, origin: "import", data: made.data, client_id: "laptop" });
      });
    });

    it("10,000 changes of one push, in order", async () => {
      await asNew(async (tx) => {
        const results = await push(
          tx,
          Array.from({ length: 10_000 }, (_, n) => insert(`${n}`, { n }, { op_id: `op${n}` })),
        );
        expect(results.map(({ seq }) => seq)).toEqual(results.map((_, n) => n + 1));
        const { changes } = await pullAll(tx, { pageSize: 4000 });
        expect(changes.map(({ id }) => Number(id))).toEqual(results.map((_, n) => n));
      });
    });

    it("nothing of a transaction that is rolled back, and no gap from it", async () => {
      const me = "rollback";
      await t.asUser(me, (tx) => push(tx, [insert("a", {}, { op_id: "a" })]));
      const undone = t.asUser(me, async (tx) => {
        await push(tx, [insert("b", {}, { op_id: "b" })]);
        throw new Error("undone");
      });
      await expect(undone).rejects.toThrow("undone");
      await t.asUser(me, async (tx) => {
        expect((await push(tx, [insert("b", {}, { op_id: "b" })]))[0]).toMatchObject({ status: "applied", seq: 2 });
        expect((await pull(tx)).changes.map(({ seq, id }) => [seq, id])).toEqual([
          [1, "a"],
          [2, "b"],
        ]);
      });
    });
  });

  describe("of an op_id", () => {
    it("that was pushed before changes nothing and gives the first result, alone, in a batch and later", async () => {
      const me = "repeater";
      const once = insert("x", { n: 1 }, { op_id: "once", at: "2026-01-01T10:00:00Z" });
      const [first] = await t.asUser(me, (tx) => push(tx, [once]));
      await t.asUser(me, (tx) => push(tx, [update("x", { n: 2 })]));
      await t.asUser(me, async (tx) => {
        expect(await push(tx, [once])).toEqual([{ ...first, status: "replayed" }]);
        expect(await push(tx, [insert("y"), once, once], "another device")).toMatchObject([
          { status: "applied", seq: 3 },
          { ...first, status: "replayed" },
          { ...first, status: "replayed" },
        ]);
        expect(await records(tx)).toEqual({ "~repeater/tasks/x": { n: 2 }, "~repeater/tasks/y": {} });
      });
    });

    it("that comes twice in one batch is applied once", async () => {
      await asNew(async (tx) => {
        const once = insert("x", { n: 1 }, { op_id: "once" });
        const results = await push(tx, [once, insert("y"), once]);
        expect(results.map(({ status, seq }) => [status, seq])).toEqual([
          ["applied", 1],
          ["applied", 2],
          ["replayed", 1],
        ]);
      });
    });

    it("with another content is refused, in one batch and in two pushes", async () => {
      await asNew(async (tx) => {
        const one = insert("x", { n: 1 }, { op_id: "same" });
        const other = insert("x", { n: 2 }, { op_id: "same" });
        expect(codes(await push(tx, [one, other]))).toEqual(["applied", "PE409"]);
        expect(codes(await push(tx, [other]))).toEqual(["PE409"]);
        expect(codes(await push(tx, [other, insert("y")]))).toEqual(["PE409", "applied"]);
        expect(codes(await push(tx, [one], "laptop", "another app"))).toEqual(["PE409"]);
      });
    });

    it("that means the same is the same, however it is written", async () => {
      const text = (more: string, data = '{"n": 1, "list": [10, 0.5], "s": "1.0"}') =>
        `{"op": "insert", "table": "tasks", "id": "x", "op_id": "same", "data": ${data}${more}}`;
      const at = (time: string) => `, "at": "${time}"`;
      const cases: [string, string[], string[]][] = [
        [
          text(""),
          [
            text("", '{"n": 1.0, "list": [10.00, 0.50], "s": "1.0"}'),
            text("", '{"s": "1.0", "list": [1e1, 5e-1], "n": 1}'),
            text(', "actor": null, "origin": null, "base_seq": null, "at": null, "field_meta": {}'),
            text(', "schema_version": 1'),
            text(', "schema_version": 1.0, "field_meta": null, "space_id": null'),
            text(', "space_id": "~ME"'),
          ],
          [
            text("", '{"n": 1.01, "list": [10, 0.5], "s": "1.0"}'),
            text("", '{"n": 1, "list": [10, 0.5], "s": "1"}'),
            text(', "actor": {}'),
            text(', "schema_version": 2'),
            text(at("2026-01-01T10:00:00Z")),
          ],
        ],
        [
          text(`${at("2026-01-01T10:00:00Z")}, "field_meta": {"n": "2026-01-01T09:00:00Z"}`),
          [text(`${at("2026-01-01T11:00:00.000+01:00")}, "field_meta": {"n": "2026-01-01T09:00Z"}`)],
          [
            text(at("2026-01-01T10:00:00Z")),
            text(`${at("2026-01-01T10:00:01Z")}, "field_meta": {"n": "2026-01-01T09:00:00Z"}`),
          ],
        ],
        [
          text("", "{}"),
          ['{"op": "insert", "table": "tasks", "id": "x", "op_id": "same"}', text("", "null")],
          [text("", '{"n": null}')],
        ],
      ];
      for (const [first, same, other] of cases) {
        for (const [others, answer] of [
          [same, "replayed"],
          [other, "PE409"],
        ] as const) {
          for (const again of others) {
            for (const beside of ["", ', {"op": "insert", "table": "tasks", "id": "y"}', ", {}"]) {
              await asNew(async (tx, me) => {
                const push = (change: string) => pushText(tx, change.replace("~ME", `~${me}`));
                expect(codes(await push(`[${first}]`))).toEqual(["applied"]);
                expect(codes(await push(`[${again}${beside}]`))[0], `${first}\n${again}${beside}`).toBe(answer);
              });
              await asNew(async (tx, me) => {
                const push = (change: string) => pushText(tx, change.replace("~ME", `~${me}`));
                expect(codes(await push(`[${again}${beside}]`))[0], again).toBe("applied");
                expect(codes(await push(`[${first}]`)), `${again}${beside}\n${first}`).toEqual([answer]);
              });
            }
          }
        }
      }
    });

    it("with a time ahead of the server's is the same later, when it is set back to another time", async () => {
      const ahead = insert("x", { n: 1 }, { op_id: "ahead", at: "2999-01-01T00:00:00Z" });
      await t.asUser("early", (tx) => push(tx, [ahead]));
      await t.asUser("early", async (tx) => {
        expect(codes(await push(tx, [ahead]))).toEqual(["replayed"]);
        expect(codes(await push(tx, [ahead, insert("y")]))).toEqual(["replayed", "applied"]);
      });
    });

    it("of another user is another op_id", async () => {
      const once = insert("x", { n: 1 }, { op_id: "shared" });
      expect(codes(await asNew((tx) => push(tx, [once])))).toEqual(["applied"]);
      expect(codes(await asNew((tx) => push(tx, [once])))).toEqual(["applied"]);
    });

    it("whose change was rejected may be tried again, also with another content", async () => {
      await asNew(async (tx) => {
        expect(codes(await push(tx, [insert("x", {}, { op_id: "o", at: "never" }), insert("y")]))).toEqual([
          "PE422",
          "applied",
        ]);
        expect(codes(await push(tx, [insert("x", {}, { op_id: "o", at: "2026-01-01T10:00:00Z" })]))).toEqual([
          "applied",
        ]);
      });
    });
  });

  describe("of a document table", () => {
    beforeAll(async () => {
      await t.db.query(`select perch.declare_table('todo', 'pages', '{"title": "string", "body": "text"}')`);
    });
    const page = (op: string, data?: unknown, more = {}) => ({
      op,
      table: "pages",
      id: "p",
      ...(data ? { data } : {}),
      ...more,
    });

    it("is handed on as patches, with the document's positions as seq", async () => {
      await asNew(async (tx, me) => {
        const results = await push(tx, [
          page("insert", { title: "one" }, { op_id: "1" }),
          insert("t"),
          page("update", { body: "two" }, { base_seq: 0 }),
        ]);
        expect(results.map(({ status, seq }) => [status, seq])).toEqual([
          ["applied", 1],
          ["applied", 1],
          ["applied", 2],
        ]);
        expect(await push(tx, [page("insert", { title: "one" }, { op_id: "1" })])).toMatchObject([
          { status: "replayed", seq: 1 },
        ]);
        expect(
          await tx.query("select head_seq, merged_seq from perch.documents where space_id = $1", [`~${me}`]),
        ).toEqual([{ head_seq: 2, merged_seq: 0 }]);
      });
    });

    it("refuses what the document does not declare, and lets it be tried again", async () => {
      await asNew(async (tx) => {
        expect(
          codes(
            await push(tx, [
              page("insert", { colour: 1 }, { op_id: "1" }),
              page("insert", { title: 5 }),
              page("update", { title: "x" }, { op_id: "2", base_seq: 9 }),
            ]),
          ),
        ).toEqual(["PE422", "PE422", "PE410"]);
        expect(
          codes(
            await push(tx, [
              page("insert", { title: "x" }, { op_id: "1" }),
              page("update", { title: "y" }, { op_id: "2", base_seq: 1 }),
            ]),
          ),
        ).toEqual(["applied", "applied"]);
      });
    });

    it("deletes the document, in the order of the push", async () => {
      await asNew(async (tx) => {
        const results = await push(tx, [
          page("insert", { title: "one" }),
          page("delete"),
          page("insert", { title: "again" }),
        ]);
        expect(results.map(({ status, seq }) => [status, seq])).toEqual([
          ["applied", 1],
          ["applied", 2],
          ["applied", 3],
        ]);
        expect(
          codes(await push(tx, [page("delete", undefined, { op_id: "d" }), page("delete", undefined, { op_id: "d" })])),
        ).toEqual(["applied", "replayed"]);
      });
    });
  });
});
