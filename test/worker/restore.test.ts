import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { exportUser, importUser } from "../../src/log/backup/index.js";
import { cleanup, connect, declare, eventually, freshId, keyOf, storedText } from "../documents/live/support.js";
import { describeEachPostgres } from "../support/databases.js";
import { patchDocument, pushUpdate, record, replica, startWorkerNode } from "./support.js";

describeEachPostgres("documents of a backup", (open) => {
  it("are merged where they are imported, with edits made there meanwhile, and only once", async () => {
    const folder = await mkdtemp(join(tmpdir(), "perch-restore-"));
    cleanup(() => rm(folder, { recursive: true }));
    const path = join(folder, "ada.gz");
    const [from, to] = [await open(), await open()];
    const key = keyOf(freshId());

    await declare(from);
    const node = await startWorkerNode(from);
    const writer = await connect(node, key);
    const author = replica();
    await from.asUser("ada", (tx) => pushUpdate(tx, key, author.type("written ")));
    await eventually(() => writer.text() === "written ");
    await from.asUser("ada", (tx) => patchDocument(tx, key, { title: "kept" }));
    await eventually(async () => (await record(node.db, key))?.title === "kept");
    const lines: string[] = [];
    await exportUser(from.db, { userId: "ada", write: (line) => void lines.push(line) });
    await writeFile(path, gzipSync(lines.join("")));

    await declare(to);
    const restored = await startWorkerNode(to);
    const reader = await connect(restored, key);
    await to.asUser("ada", (tx) => pushUpdate(tx, key, replica().type("new ")));
    for (let time = 0; time < 2; time++) {
      expect(await importUser(to.db, { path })).toMatchObject({ rejected: 0 });
      await eventually(async () => (await record(restored.db, key))?.title === "kept");
      await eventually(async () => (await record(restored.db, key))?.body === reader.text());
      expect(["written new ", "new written "]).toContain(reader.text());
      expect(await storedText(restored.db, key)).toBe(reader.text());
    }
  });
});
