import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";

/**
 * The files of a database of PGlite as one: a line of JSON that lists them, and their bytes one behind the other, without the zeros at the end of
 * each (of Postgres' own log that is nearly all). What is read of it is laid out without being unpacked or copied.
 */
type Entry = readonly [folder: string] | readonly [file: string, size: number, stored: number];

/** The part of Emscripten's file system that is used here. */
export interface EngineFiles {
  readdir(path: string): string[];
  stat(path: string): { mode: number };
  isDir(mode: number): boolean;
  readFile(path: string): Uint8Array;
  mkdirTree(path: string): void;
  /** `canOwn`: the bytes become the file's, which changes them in place. */
  writeFile(path: string, bytes: Uint8Array, options: { canOwn: boolean }): void;
}

/** In: a folder of the engine's. Out: all that is in it. */
export function packFiles(files: EngineFiles, root: string): Uint8Array<ArrayBuffer> {
  const entries: Entry[] = [];
  const parts: Uint8Array[] = [];
  const add = (folder: string) => {
    for (const name of files.readdir(root + folder)) {
      if (name === "." || name === "..") continue;
      const path = `${folder}/${name}`;
      if (files.isDir(files.stat(root + path).mode)) {
        entries.push([path]);
        add(path);
        continue;
      }
      const bytes = files.readFile(root + path);
      const stored = bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0) + 1);
      entries.push([path, bytes.length, stored.length]);
      parts.push(stored);
    }
  };
  add("");
  return new Uint8Array(Buffer.concat([Buffer.from(`${JSON.stringify(entries)}\n`), ...parts]));
}

/** Out: path and bytes of each file; a folder, which comes before what is in it, has none. */
function* unpack(image: Uint8Array): Generator<readonly [path: string, bytes?: Uint8Array]> {
  const end = image.indexOf(10);
  let at = end + 1;
  for (const [path, size, stored = 0] of JSON.parse(Buffer.from(image.subarray(0, end)).toString()) as Entry[]) {
    if (size === undefined) {
      yield [path];
      continue;
    }
    const bytes = image.subarray(at, at + stored);
    at += stored;
    if (stored === size) {
      yield [path, bytes];
      continue;
    }
    // Zeros that nobody has touched take no memory.
    const whole = new Uint8Array(size);
    whole.set(bytes);
    yield [path, whole];
  }
}

/** Lays an image out in the engine's memory. Its bytes are the database's from then on. */
export function layOut(image: Uint8Array, files: EngineFiles, root: string): void {
  files.mkdirTree(root);
  for (const [path, bytes] of unpack(image)) {
    if (bytes === undefined) files.mkdirTree(root + path);
    else files.writeFile(root + path, bytes, { canOwn: true });
  }
}

/** Lays an image out on the disk, for nobody else to read, and waits until it has arrived there. */
export async function writeOut(image: Uint8Array, root: string): Promise<void> {
  const folders = [root];
  await mkdir(root, { recursive: true, mode: 0o700 });
  const written: Promise<void>[] = [];
  for (const [path, bytes] of unpack(image)) {
    if (bytes === undefined) {
      folders.push(join(root, path));
      await mkdir(join(root, path), { mode: 0o700 });
    } else written.push(writeFile(join(root, path), bytes));
  }
  await Promise.all(written);
  // The names, too. Windows has no such thing.
  if (process.platform !== "win32") await Promise.all(folders.map((folder) => sync(folder)));
}

async function writeFile(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function sync(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
