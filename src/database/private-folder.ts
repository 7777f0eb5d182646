import { chmod, lstat, mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/**
 * Makes a folder that nobody else may look into, or makes one that is there so: 0700, and 0600 for the files in it, of those right in it as far as
 * they are `own`. All of row level security is nothing to whoever can read or write the files themselves. Throws when the folder belongs to
 * another user, who could put anything there meanwhile.
 */
export async function makePrivate(folder: string, own: (name: string) => boolean = () => true): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const me = process.getuid?.();
  // No such thing as these modes.
  if (me === undefined) return;
  const { uid } = await stat(folder);
  if (uid !== me) {
    throw new Error(
      `${folder} belongs to another user (${uid}, and this process runs as ${me}); give it a folder of its own`,
    );
  }
  await narrow(folder, own);
}

async function narrow(path: string, own: (name: string) => boolean = () => true): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    // Something that has just been removed, by a process that goes.
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (found === undefined || found.isSymbolicLink()) return;
  if ((found.mode & 0o077) !== 0) await chmod(path, found.mode & 0o700);
  if (!found.isDirectory()) return;
  for (const name of (await readdir(path)).filter(own)) await narrow(join(path, name));
}
