import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import { readBlocks } from "../support/blocks.js";
import { describeBothKinds } from "../support/databases.js";

describeBothKinds("docs/tables.md", (open) => {
  it("does what it says", async () => {
    const t = await open();
    const blocks = readBlocks(await readFile(join(packageRoot, "docs", "tables.md"), "utf8"), ["sql"]);
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
    for (const { text } of blocks.slice(following + 1)) await run(text);
    expect(await t.db.query("select count(*) as count from perch.synced_tables")).toEqual([{ count: 0 }]);
    expect(await t.db.query("select count(*) as count from orders")).toEqual([{ count: 2 }]);
  });
});
