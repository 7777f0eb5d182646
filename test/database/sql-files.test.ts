import { basename } from "node:path";
import { expect, it } from "vitest";
import { readMigrationSources } from "../../src/database/migration-sources.js";

it("what is in api/ is documented for its callers, what is in internal/ says that it is private", async () => {
  const { files } = await readMigrationSources();
  const wrong: string[] = [];
  for (const { path, text, makes, reconciles } of files) {
    if (reconciles) continue;
    const [, comment = ""] = /^comment on (?:function|view) .* is\s+'(.*)';$/m.exec(text) ?? [];
    if (comment === "") wrong.push(`${path} has no comment`);
    else if (comment.startsWith("Private. ") !== path.includes("/internal/")) wrong.push(`${path}: wrong folder`);
    if (makes.length !== 1 || makes[0] !== basename(path, ".sql")) wrong.push(`${path} makes ${makes.join(", ")}`);
  }
  expect(wrong).toEqual([]);
});
