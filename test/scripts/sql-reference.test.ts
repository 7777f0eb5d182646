import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { sqlReference } from "../../scripts/docs/sql-reference.js";
import { packageRoot } from "../../src/database/package-root.js";
import { pglite } from "../support/databases.js";

const open = pglite();

it("docs/sql.md says what the comments in the database say (if not: npm run docs)", async () => {
  const { db } = await open();
  expect(await readFile(join(packageRoot, "docs", "sql.md"), "utf8")).toBe(await sqlReference(db));
});

it("every function that an application may call is commented, with what it does and returns", async () => {
  const { db } = await open();
  const silent = await db.query(
    `select p.proname from pg_proc p
      where p.pronamespace = 'perch'::regnamespace and has_function_privilege('perch_app', p.oid, 'execute')
        and coalesce(length(obj_description(p.oid, 'pg_proc')), 0) < 20`,
  );
  expect(silent).toEqual([]);
});
