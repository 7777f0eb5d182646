/**
 * Sets a database of PGlite back to how it was, in a fraction of the time that opening another takes: all of its state is the engine's memory
 * and the files of Emscripten's file system, which is in memory, too. What the engine keeps besides are the libraries it has loaded: where one was
 * loaded since, or memory has grown, there is no way back.
 *
 * Only while nothing is under way in it: then there is no stack to set back, and no query that waits.
 */
import type { PGlite } from "@electric-sql/pglite";

interface FileNode {
  contents?: Uint8Array | Record<string, FileNode> | null;
  usedBytes?: number;
  stream_ops: StreamOperations;
  name_next?: FileNode;
}

interface Stream {
  readonly node?: FileNode;
  /** Position and flags. */
  readonly shared: object;
}

interface StreamOperations {
  write(stream: Stream, from: Uint8Array, offset: number, length: number, position: number, canOwn?: boolean): number;
}

/** Whether a node is a file's, by what it contains. */
const isFile = (contents: FileNode["contents"]): contents is Uint8Array => ArrayBuffer.isView(contents);

/** The parts of Emscripten's file system that are used here. */
interface FileSystem {
  readonly nameTable: (FileNode | undefined)[];
  readonly streams: (Stream | null | undefined)[];
  open(path: string | { readonly name?: string }, ...rest: unknown[]): Stream;
  lookupPath(path: string): { readonly node: FileNode };
}

interface Engine {
  readonly HEAPU8: Uint8Array;
  readonly FS: FileSystem;
}

/** Parts of memory are compared in one go, and copied where they differ. */
const partBytes = 64 * 1024;
const zeros = new Uint8Array(partBytes);
/** What Postgres writes of a file at once. */
const blockBytes = 8192;

/** Not `slice`, which of a Buffer, as files may be, is no copy. */
const copyOf = (bytes: Uint8Array, at = 0, length = bytes.length) => new Uint8Array(bytes.subarray(at, at + length));

/** Out: sets memory back, in which as much was used as is now. */
function rememberMemory(before: Uint8Array): () => void {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < before.length; at += partBytes) {
    const part = before.subarray(at, at + partBytes);
    parts.push(Buffer.compare(part, zeros) === 0 ? zeros : copyOf(part));
  }
  return () => {
    for (const [index, was] of parts.entries()) {
      const part = before.subarray(index * partBytes, (index + 1) * partBytes);
      if (Buffer.compare(part, was) !== 0) part.set(was);
    }
  };
}

/** Keeps what is written over. Out: sets the file's bytes back. */
interface Undo {
  keep(position: number, length: number): void;
  undo(): void;
}

function undoOf(node: FileNode, contents: Uint8Array): Undo {
  const kept = new Map<number, Uint8Array>();
  return {
    keep(position, length) {
      // Once it had to grow, or was cut off, its bytes are in another array.
      if (node.contents !== contents) return;
      for (let block = Math.floor(position / blockBytes); block * blockBytes < position + length; block += 1)
        if (!kept.has(block)) kept.set(block, copyOf(contents, block * blockBytes, blockBytes));
    },
    undo() {
      for (const [block, bytes] of kept) contents.set(bytes, block * blockBytes);
      kept.clear();
    },
  };
}

/** Out: sets the files back, their names, and which are open. */
function rememberFiles({ FS }: Engine): () => void {
  const table = [...FS.nameTable];
  const streams = FS.streams.map((stream) => stream && { stream, was: { ...stream }, at: { ...stream.shared } });
  const nodes: (() => void)[] = [];
  const undos = new Map<FileNode, Undo>();
  for (let node of table) {
    for (; node !== undefined; node = node.name_next) {
      const [it, was] = [node, { ...node }];
      const { contents } = was;
      if (isFile(contents)) {
        undos.set(it, undoOf(it, contents));
        nodes.push(() => Object.assign(it, was));
      } else {
        const names = contents && { ...contents };
        nodes.push(() => Object.assign(it, was, names && { contents: { ...names } }));
      }
    }
  }
  const operations = FS.lookupPath("/pglite/data/PG_VERSION").node.stream_ops;
  const { write } = operations;
  operations.write = (stream, from, offset, length, position, canOwn) => {
    if (stream.node !== undefined) undos.get(stream.node)?.keep(position, length);
    return write(stream, from, offset, length, position, canOwn);
  };
  return () => {
    for (const { undo } of undos.values()) undo();
    for (const setBack of nodes) setBack();
    FS.nameTable.splice(0, FS.nameTable.length, ...table);
    FS.streams.length = streams.length;
    for (const [index, open] of streams.entries()) {
      // One that was closed has lost its number.
      if (open) Object.assign(Object.assign(open.stream, open.was).shared, open.at);
      FS.streams[index] = open?.stream ?? null;
    }
  };
}

/** In: a database with nothing under way. Out: sets it back to how it is now, where that is possible; answers whether it was. */
export async function remember(client: PGlite): Promise<() => Promise<boolean>> {
  const engine = client.Module as unknown as Engine;
  // The one library that all that is done here needs.
  await client.exec("do $$ begin end $$");
  // With that no timer is due in it any more: else it would set another in the middle of a test that has long gone on to other things.
  await client.exec("select pg_stat_force_next_flush()");
  return client.runExclusive(async () => {
    let hasLoaded = false;
    const { open } = engine.FS;
    engine.FS.open = (path, ...rest) => {
      hasLoaded ||= String(typeof path === "string" ? path : path.name).endsWith(".so");
      return open.call(engine.FS, path, ...rest);
    };
    const before = engine.HEAPU8;
    const [setMemory, setFiles] = [rememberMemory(before), rememberFiles(engine)];
    return () =>
      client.runExclusive(async () => {
        // What has grown is another array, and does not become smaller again.
        if (hasLoaded || engine.HEAPU8 !== before) return false;
        setMemory();
        setFiles();
        return true;
      });
  });
}
