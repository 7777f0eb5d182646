import { expect, it } from "vitest";
import { readMigrationSources } from "../../src/database/migration-sources.js";

it("what is in api/ is documented for its callers, what is in internal/ says that it is private", async () => {
  const { files } = await readMigrationSources();
  const wrong: string[] = [];
  for (const { path, text, makes } of files) {
    if (makes.length === 0) continue;
    const [, , place] = path.split("/");
    if (!/^comment on (function|view) /m.test(text)) wrong.push(`${path} has no comment`);
    else if (/^ {2}'Private\. /m.test(text) !== (place === "internal")) wrong.push(`${path} is in the wrong folder`);
    if (
      makes.some(
        (name) =>
          name !==
          path
            .split("/")
            .at(-1)
            ?.replace(/\.sql$/, ""),
      )
    )
      wrong.push(`${path} has another name`);
  }
  expect(wrong).toEqual([]);
});
