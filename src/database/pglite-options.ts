import fs from "node:fs";
import { MemoryFS, PGlite } from "@electric-sql/pglite";
import { NodeFS } from "@electric-sql/pglite/nodefs";
import { type EngineFiles, layOut, packFiles } from "./image.js";

interface Opened {
  readonly nfd: number;
  readonly path?: string;
}

/** The parts of Emscripten's file system that are used here. */
interface FolderStreams {
  FS: {
    filesystems: {
      NODEFS: {
        stream_ops: {
          fsync?: (stream: Opened) => number;
          write(stream: Opened, ...what: unknown[]): number;
        };
        node_ops: {
          mknod(parent: unknown, name: string, mode: number, dev: number): unknown;
          setattr(node: unknown, attributes: { mode?: number }): unknown;
        };
      };
    };
  };
}

/**
 * PGlite keeps files but never waits for the disk: it switches fsync off, and its file system has none. A killed process loses
 * nothing by that; a power failure can lose what was acknowledged, or the whole database. Here a commit waits for the disk, as
 * on a server. And what it makes is its user's alone.
 */
class DurableFolder extends NodeFS {
  readonly #onLost: (error: unknown) => void;

  constructor(folder: string, onLost: (error: unknown) => void) {
    super(folder);
    this.#onLost = onLost;
  }

  override async init(...args: Parameters<NodeFS["init"]>): ReturnType<NodeFS["init"]> {
    const made = await super.init(...args);
    made.emscriptenOpts.preRun ??= [];
    made.emscriptenOpts.preRun.push((module: unknown) => {
      const { stream_ops, node_ops } = (module as FolderStreams).FS.filesystems.NODEFS;
      const telling = <R>(write: () => R, file: Opened): R => {
        try {
          return write();
        } catch (error) {
          if (file.path?.includes("/pg_wal/")) this.#onLost(error);
          throw error;
        }
      };
      const { write } = stream_ops;
      stream_ops.write = (stream, ...what) => telling(() => write(stream, ...what), stream);
      stream_ops.fsync = (stream) => telling(() => fs.fdatasyncSync(stream.nfd), stream) ?? 0;
      // Postgres asks for files that nobody else may read; on the way here they become files for everybody.
      const { mknod: make, setattr: set } = node_ops;
      node_ops.mknod = (parent, name, mode, dev) => make(parent, name, mode & ~0o077, dev);
      node_ops.setattr = (node, attributes) =>
        set(node, attributes.mode === undefined ? attributes : { ...attributes, mode: attributes.mode & ~0o077 });
    });
    return made;
  }
}

/** Where the engine has its database. */
const dataFolder = "/pglite/data";

const filesOf = (client: PGlite) => client.Module.FS as unknown as EngineFiles;

/** In: a database, with nothing under way. Out: its files as they are. */
export const imageOf = (client: PGlite): Promise<Uint8Array> =>
  client.runExclusive(async () => packFiles(filesOf(client), dataFolder));

/** Files in memory that are there before the engine looks: it would make a database otherwise. */
class LaidOut extends MemoryFS {
  readonly #image: Uint8Array;

  constructor(image: Uint8Array) {
    super();
    this.#image = image;
  }

  override async initialSyncFs(): Promise<void> {
    if (this.pg !== undefined) layOut(this.#image, filesOf(this.pg), dataFolder);
  }
}

/**
 * Postgres' own buffers. They are cleared when a database opens, which for the usual 128 MB takes as long as all the rest; and what they hold
 * is in memory once more, in this process or as the system keeps files.
 */
const buffers = (size: string) => ["-c", `shared_buffers=${size}`];

/** Postgres would say how far it is every ten seconds while it starts; here, where there is none but the one process, it never stops to look. */
const silentStart = ["-c", "log_startup_progress_interval=0"];

/** Options of PGlite.create for a database in memory; in: the files that it begins with, which become its own. */
export const inMemory = (image: Uint8Array | undefined) => ({
  ...(image && { fs: new LaidOut(image) }),
  startParams: [...PGlite.defaultStartParams, ...silentStart, ...buffers("16MB")],
});

/**
 * Options of PGlite.create for a database in a folder. Of Postgres's ways to sync its log only this one arrives at the file. onLost is told what went wrong
 * when the log cannot be written.
 */
export function durableFolder(folder: string, onLost: (error: unknown) => void) {
  const settings = PGlite.defaultStartParams.filter((param) => param !== "-F");
  return {
    fs: new DurableFolder(folder, onLost),
    startParams: [...settings, ...silentStart, "-c", "wal_sync_method=fsync", ...buffers("32MB")],
  };
}
