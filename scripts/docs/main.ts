import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describeCatalog } from "../../src/database/catalog.js";
import { packageRoot } from "../../src/database/package-root.js";
import { createTestDatabase } from "../../src/testing.js";
import { sqlReference } from "./sql-reference.js";

const pages = { "sql.md": sqlReference, "schema.txt": describeCatalog };

const db = await createTestDatabase();
const folder = join(packageRoot, "docs");
await mkdir(folder, { recursive: true });
for (const [name, make] of Object.entries(pages)) {
  await writeFile(join(folder, name), await make(db));
  process.stdout.write(`wrote docs/${name}\n`);
}
await db.close();
