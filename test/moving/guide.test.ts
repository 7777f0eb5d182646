import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import { readBlocks } from "../support/blocks.js";
import { describeBothKinds } from "../support/databases.js";

describeBothKinds("docs/moving-from.md", (open) => {
  it("does what it says", async () => {
    const t = await open();
    const blocks = readBlocks(await readFile(join(packageRoot, "docs", "moving-from.md"), "utf8"), ["sql"]);
    for (const { text } of blocks) await t.db.transaction((tx) => tx.script(text.replace(/^(begin|commit);$/gm, "")));
    const [pulled] = await t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context(user_id => 'nina')");
      return tx.query<{ answer: { records: { table: string; data: object }[] } }>(
        "select perch.snapshot_records(app_id => 'app', space_id => 'north') as answer",
      );
    });
    expect(pulled?.answer.records).toMatchObject([{ table: "todos", data: { title: "Buy milk", done: false } }]);
    // The column that is gone was not among those that are synced, so all is well with the table.
    expect(await t.db.query("select problems from perch.synced_tables")).toEqual([{ problems: [] }, { problems: [] }]);
    expect(await t.db.query("select count(*) as count from perch.document_inbox where record_id = 'p1'")).toEqual([
      { count: 1 },
    ]);
  });
});
