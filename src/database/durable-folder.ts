import fs from "node:fs";
import { PGlite } from "@electric-sql/pglite";
import { NodeFS } from "@electric-sql/pglite/nodefs";

/** The parts of Emscripten's file system that are used here. */
interface FolderStreams {
  FS: { filesystems: { NODEFS: { stream_ops: { fsync?: (stream: { nfd: number }) => number } } } };
}

/**
 * PGlite keeps files but never waits for the disk: it switches fsync off, and its file system has none. A killed process loses
 * nothing by that; a power failure can lose what was acknowledged, or the whole database. Here a commit waits for the disk, as
 * on a server.
 */
class DurableFolder extends NodeFS {
  override async init(...args: Parameters<NodeFS["init"]>): ReturnType<NodeFS["init"]> {
    const made = await super.init(...args);
    made.emscriptenOpts.preRun ??= [];
    made.emscriptenOpts.preRun.push((module: unknown) => {
      (module as FolderStreams).FS.filesystems.NODEFS.stream_ops.fsync = (stream) => {
        fs.fdatasyncSync(stream.nfd);
        return 0;
      };
    });
    return made;
  }
}

/** Options of PGlite.create for a database in a folder. Of Postgres's ways to sync its log only this one arrives at the file. */
export function durableFolder(folder: string) {
  const settings = PGlite.defaultStartParams.filter((param) => param !== "-F");
  return { fs: new DurableFolder(folder), startParams: [...settings, "-c", "wal_sync_method=fsync"] };
}
