import { existsSync } from "node:fs";
import { open, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

/** Lies beside the files of a database that is being made. As long as it does, they are none. */
const markOf = (dataDir: string) => `${dataDir}.unfinished`;

/**
 * Whether a database is to be made in a folder, which this process has locked for itself: there is none, or only what a process left that
 * was killed while it made one. That is taken away.
 */
export async function beginMaking(dataDir: string): Promise<boolean> {
  if (existsSync(markOf(dataDir))) await rm(dataDir, { recursive: true, force: true });
  else if (existsSync(dataDir)) return false;
  await writeFile(markOf(dataDir), "");
  return true;
}

/** From here on it is a database, also when the power fails: otherwise the next start would take it away, with all that is written to it. */
export async function endMaking(dataDir: string): Promise<void> {
  await rm(markOf(dataDir));
  if (process.platform === "win32") return;
  const folder = await open(dirname(dataDir));
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
