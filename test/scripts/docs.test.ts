import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { sqlReference } from "../../scripts/docs/sql-reference.js";
import { describeCatalog } from "../../src/database/catalog.js";
import { packageRoot } from "../../src/database/package-root.js";
import { describeEachEngine, pglite } from "../support/databases.js";

const page = (name: string) => readFile(join(packageRoot, "docs", name), "utf8");

describe("the SQL reference", () => {
  const open = pglite();

  it("says what the comments in the database say (if not: npm run docs)", async () => {
    expect(await page("sql.md")).toBe(await sqlReference((await open()).db));
  });

  it("has something to say of every function that an application may call", async () => {
    const { db } = await open();
    const silent = await db.query(
      `select p.proname from pg_proc p
        where p.pronamespace = 'perch'::regnamespace and has_function_privilege('perch_app', p.oid, 'execute')
          and coalesce(length(obj_description(p.oid, 'pg_proc')), 0) < 20`,
    );
    expect(silent).toEqual([]);
  });
});

describeEachEngine("the schema", (open) => {
  it("is what docs/schema.txt shows (if that is meant to change: npm run docs)", async () => {
    expect(await describeCatalog((await open()).db)).toBe(await page("schema.txt"));
  });
});
