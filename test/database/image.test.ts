import fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { packFiles, writeOut } from "../../src/database/image.js";
import { openPglite } from "../../src/database/pglite.js";
import { databaseTemplate } from "../../src/database/template.js";

async function newFolder(): Promise<string> {
  const folder = await fs.mkdtemp(join(tmpdir(), "perch-image-"));
  onTestFinished(() => fs.rm(folder, { recursive: true }));
  return folder;
}

/** Files as the engine would show them. */
function packed(contents: Record<string, Uint8Array | null>) {
  const paths = Object.keys(contents);
  return packFiles(
    {
      readdir: (folder) => [
        ".",
        "..",
        ...paths.flatMap((path) => {
          const rest = path.startsWith(`${folder}/`) ? path.slice(folder.length + 1) : "/";
          return rest.includes("/") ? [] : [rest];
        }),
      ],
      stat: (path) => ({ mode: contents[path] === null ? 1 : 0 }),
      isDir: (mode) => mode === 1,
      readFile: (path) => contents[path] ?? new Uint8Array(),
      mkdirTree: () => undefined,
      writeFile: () => undefined,
    },
    "",
  );
}

it("an image gives back each file byte by byte: empty ones, zeros at the end, and nothing but zeros", async () => {
  const contents = {
    "/a": new Uint8Array([1, 0, 2, 0, 0]),
    "/deep": null,
    "/deep/er": null,
    "/deep/er/zeros": new Uint8Array(100_000),
    "/deep/ö": new TextEncoder().encode("[\n]"),
    "/empty": new Uint8Array(),
  };
  const image = packed(contents);
  expect(image.length).toBeLessThan(500);
  const folder = join(await newFolder(), "out");
  await writeOut(image, folder);
  for (const [path, bytes] of Object.entries(contents))
    if (bytes !== null) expect(new Uint8Array(await fs.readFile(folder + path)), path).toEqual(bytes);
  expect((await fs.readdir(folder)).sort()).toEqual(["a", "deep", "empty"]);
});

it.skipIf(process.platform === "win32")(
  "an image is written out for nobody else to read, and is on the disk when that is done, names and all",
  async () => {
    const folder = join(await newFolder(), "out");
    const handle = await fs.open(tmpdir());
    const sync = vi.spyOn(Object.getPrototypeOf(handle) as typeof handle, "sync");
    onTestFinished(() => sync.mockRestore());
    await handle.close();
    await writeOut(packed({ "/a": new Uint8Array([1]), "/d": null, "/d/b": new Uint8Array([2]) }), folder);
    // Two files and two folders.
    expect(sync).toHaveBeenCalledTimes(4);
    for (const [path, mode] of Object.entries({ ".": 0o700, a: 0o600, d: 0o700, "d/b": 0o600 }))
      expect(((await fs.stat(join(folder, path))).mode & 0o777).toString(8), path).toBe(mode.toString(8));
  },
);

it("a database begins with what another one had, in memory and in a folder, and is its own from then on", async () => {
  const from = await openPglite({ template: { image: databaseTemplate } });
  onTestFinished(() => from.close());
  await from.query("create table things (n int)");
  await from.query("insert into things values (1)");
  const image = await from.image();
  const dataDir = join(await newFolder(), "db");
  for (const place of [{}, { dataDir }]) {
    const db = await openPglite({ ...place, template: { image: async () => image.slice() } });
    expect(db.isOfTemplate).toBe(true);
    await db.query("insert into things values (2)");
    expect(await db.query("select n from things order by n")).toEqual([{ n: 1 }, { n: 2 }]);
    await db.close();
  }
  expect(await from.query("select n from things")).toEqual([{ n: 1 }]);
  const again = await openPglite({ dataDir, template: { image: async () => image.slice() } });
  expect(again.isOfTemplate).toBe(false);
  expect(await again.query("select n from things order by n")).toEqual([{ n: 1 }, { n: 2 }]);
  await again.close();
});

it("the template holds no log of its making", async () => {
  const db = await openPglite({ template: { image: databaseTemplate } });
  onTestFinished(() => db.close());
  expect((await databaseTemplate()).length).toBeLessThan(16 * 2 ** 20);
  expect(await db.query("select count(*) as files from pg_ls_waldir()")).toEqual([{ files: 1 }]);
});
