import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import { readBlocks } from "../support/blocks.js";
import { describeBothKinds } from "../support/databases.js";

describeBothKinds("docs/tables.md", (open) => {
  it("does what it says", async () => {
    const t = await open();
    const all = readBlocks(await readFile(join(packageRoot, "docs", "tables.md"), "utf8"), ["sql", "json"]);
    const blocks = all.filter(({ language }) => language === "sql");
    const expected = all.filter(({ language }) => language === "json").map(({ text }) => JSON.parse(text) as unknown);
    const run = (text: string) => t.db.transaction((tx) => tx.script(text));
    const following = blocks.findIndex(({ text }) => text.startsWith("begin;"));
    for (const { text } of blocks.slice(0, following)) await run(text);
    const answers = await t.db.transaction(async (tx) => {
      const statements = (blocks[following]?.text ?? "").split(";\n").filter((sql) => /^select/.test(sql.trim()));
      const found: Record<string, { table: string; id: string; op?: string; data: Record<string, unknown> }[]>[] = [];
      for (const sql of statements) {
        const [row] = await tx.query(sql);
        found.push(Object.values(row ?? {})[0] as never);
      }
      return found;
    });
    expect(answers[1]?.records?.map(({ data }) => data.customer)).toEqual(["Ada", "Ben"]);
    expect(answers[2]?.changes?.map(({ op, table, data }) => [op, table, data])).toEqual([
      ["insert", "orders", expect.objectContaining({ customer: "Ben", total: 7 })],
      ["update", "orders", { paid_at: "2026-01-01T10:00:00+00:00" }],
    ]);
    const ruled = blocks.findLastIndex(({ text }) => text.startsWith("begin;"));
    for (const { text } of blocks.slice(following + 1, ruled)) await run(text);
    const asNina = (await t.db.transaction(async (tx) => {
      const found: unknown[] = [];
      for (const sql of (blocks[ruled]?.text ?? "").split(/;\n/).filter((each) => /^select/.test(each.trim()))) {
        found.push(...(await tx.query(sql)));
      }
      return found;
    })) as [unknown, { records: { data: object }[] }, { results: object[] }];
    expect(asNina[1].records.map(({ data }) => data)).toEqual([
      { id: expect.any(String), team_id: "north", seller: "nina", title: "Lamps" },
    ]);
    expect([asNina[2].results]).toMatchObject(expected);
    for (const { text } of blocks.slice(ruled + 1)) await run(text);
    await t.db.query("select perch.unsync_table('public.deals')");
    expect(await t.db.query("select relation from perch.synced_tables")).toEqual([{ relation: "notes" }]);
    expect(await t.db.query("select count(*) as count from orders")).toEqual([{ count: 2 }]);
  });
});
