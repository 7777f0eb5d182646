/** The functions called by SQL programs, whose sessions perch does not make. */
import { expect, it } from "vitest";
import type { Queryable } from "../../src/database/types.js";
import { describeEachEngine, describeEachPostgres } from "../support/databases.js";

const change = (id: string) => JSON.stringify([{ op: "insert", table: "tasks", id, data: { id } }]);
const pushOne = (tx: Queryable, id: string) =>
  tx.query<{ seq: number; status: string }>(
    `select (r ->> 'seq')::bigint as seq, r ->> 'status' as status
       from jsonb_array_elements(perch.push(app_id => 'a', client_id => 'c', changes => $1) -> 'results') r`,
    [change(id)],
  );

describeEachEngine("a session in which a backslash escapes within plain quotes", (open) => {
  it("pushes, pulls, patches and is refused as any other", async () => {
    const t = await open();
    const odd = <T>(work: (tx: Queryable) => Promise<T>) =>
      t.asUser("ada", async (tx) => {
        await tx.query("set local standard_conforming_strings = off");
        await tx.query("set local escape_string_warning = off");
        return work(tx);
      });
    expect(await odd((tx) => pushOne(tx, "plain"))).toEqual([{ seq: 1, status: "applied" }]);
    const [page] = await odd((tx) =>
      tx.query<{ page: { cursor: unknown } }>("select perch.pull(app_id => 'a') as page"),
    );
    const [rest] = await odd((tx) =>
      tx.query("select perch.pull(app_id => 'a', cursor => $1) -> 'changes' as changes", [
        JSON.stringify(page?.page.cursor),
      ]),
    );
    expect(rest).toEqual({ changes: [] });
    for (const [id, status] of [
      ["d", "applied"],
      ["x-x01", "applied"],
      ["\u0001", "rejected"],
      ["\u007f", "rejected"],
    ]) {
      expect(await odd((tx) => pushOne(tx, id ?? ""))).toMatchObject([{ status }]);
    }
  });

  it("finds no backslash in the text of a function that stands for itself", async () => {
    const t = await open();
    const functions = await t.db.query<{ name: string; source: string }>(
      "select proname as name, prosrc as source from pg_proc where pronamespace = 'perch'::regnamespace and prosrc like E'%\\\\\\\\%'",
    );
    const plain = functions.filter(({ source }) =>
      source
        .replaceAll(/--.*$/gm, "")
        .replaceAll(/\bE'(?:[^'\\]|''|\\.)*'/g, "")
        .includes("\\"),
    );
    expect(functions.length).toBeGreaterThan(0);
    expect(plain.map(({ name }) => name)).toEqual([]);
  });
});

describeEachPostgres("transactions above read committed", (open) => {
  it.each(["repeatable read", "serializable"])(
    "push in the order of their commits, at %s: each has the next numbers, or fails as one to be tried again",
    async (isolation) => {
      const t = await open();
      await t.db.query("create table public.taken (seq bigint primary key, writer int, round int)");
      await t.db.query("grant insert on public.taken to perch_app");
      const outcomes = await Promise.all(
        Array.from({ length: 8 }, async (_, writer) => {
          const login = await t.login("perch_app");
          const codes: string[] = [];
          for (let round = 0; round < 15; round += 1) {
            try {
              await login.transaction(async (tx) => {
                await tx.query(`set transaction isolation level ${isolation}`);
                await tx.query(
                  "select perch.set_context(user_id => 'ada', space_ids => '{team}', writable_space_ids => '{team}')",
                );
                const [{ seq }] = (await tx.query(
                  `select ((perch.push(app_id => 'a', client_id => 'c', changes => $1) -> 'results' -> 0) ->> 'seq')::bigint as seq`,
                  [
                    JSON.stringify([
                      { op: "insert", table: "t", id: `${writer}-${round}`, space_id: "team", data: { n: round } },
                      { op: "update", table: "t", id: "shared", space_id: "team", data: { [`f${writer}`]: round } },
                    ]),
                  ],
                )) as [{ seq: number }];
                await tx.query("insert into public.taken (seq, writer, round) values ($1, $2, $3)", [
                  seq,
                  writer,
                  round,
                ]);
              });
              codes.push("committed");
            } catch (error) {
              codes.push((error as { code: string }).code);
            }
          }
          return codes;
        }),
      );
      const codes = outcomes.flat();
      expect(new Set(codes)).toEqual(new Set(["committed", "40001"]));
      const committed = codes.filter((code) => code === "committed").length;
      const [log] = await t.db.query(
        `select count(*) as count, min(seq) as min, max(seq) as max, count(distinct seq) as seqs from (
           select (c ->> 'seq')::bigint as seq
             from perch.set_context(user_id => 'ada', space_ids => '{team}') s,
                  jsonb_array_elements(perch.pull(app_id => 'a', page_size => 1000) -> 'changes') c) p`,
      );
      expect(log).toEqual({ count: 2 * committed, min: 1, max: 2 * committed, seqs: 2 * committed });
    },
  );
});
