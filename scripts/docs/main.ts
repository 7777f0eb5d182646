import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "../../src/database/package-root.js";
import { createTestDatabase } from "../../src/testing.js";
import { sqlReference } from "./sql-reference.js";

const db = await createTestDatabase();
const path = join(packageRoot, "docs", "sql.md");
await writeFile(path, await sqlReference(db));
await db.close();
process.stdout.write(`wrote ${path}\n`);
