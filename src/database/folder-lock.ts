import { readdir, readFile, unlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

const prefix = "lock.";

interface Holder {
  host: string;
  pid: number;
  /** When the process started, so that a new process with an old number is not taken for the holder; "0" where unknown. */
  started: string;
}

/** Start time of a process: boot id and clock ticks since boot, as far as the system tells; undefined when there is none. */
async function startOf(pid: number): Promise<string | undefined> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return undefined;
  }
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
    // The second field is the command in parentheses and may itself hold spaces; the 22nd is the start time.
    const ticks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    return `${boot.slice(0, 8)}-${ticks}`;
  } catch {
    // No /proc on this system: the number alone has to do.
    return "0";
  }
}

const nameOf = (holder: Holder) =>
  `${prefix}${encodeURIComponent(holder.host).replaceAll(".", "%2E")}.${holder.pid}.${holder.started}`;

function parseName(name: string): Holder | undefined {
  const [host, pid, started] = name.slice(prefix.length).split(".");
  if (!name.startsWith(prefix) || host === undefined || pid === undefined || started === undefined) return undefined;
  return { host: decodeURIComponent(host), pid: Number(pid), started };
}

async function isAlive(holder: Holder): Promise<boolean> {
  // Of a process on another machine (or in another container) nothing can be known from here: better refuse than lose rows.
  if (holder.host !== hostname()) return true;
  return (await startOf(holder.pid)) === holder.started;
}

/** Another process has the folder. `serves`: it lets others in, or is about to. */
export class FolderInUseError extends Error {
  readonly serves: boolean;

  constructor(message: string, serves: boolean) {
    super(message);
    this.name = "FolderInUseError";
    this.serves = serves;
  }
}

/** What is in the file of a process that lets others in through a socket. */
const serving = "serves";

/**
 * Takes a folder for this process until the returned function is called or the process ends, however it ends.
 *
 * Every contender first makes a file whose name says who it is, then looks at the others. Of two that start at once at least one
 * sees the other's file (each looked after it wrote), so never both go on; if both see each other, each withdraws and tries again
 * after a pause of random length. Files of dead processes are removed; nobody's live file ever is.
 * Throws FolderInUseError when a live process has the folder.
 */
export async function lockFolder(folder: string, serves = false): Promise<() => Promise<void>> {
  const me: Holder = { host: hostname(), pid: process.pid, started: (await startOf(process.pid)) ?? "0" };
  const mine = nameOf(me);
  const attempts = 5;
  for (let attempt = 1; ; attempt += 1) {
    await writeFile(join(folder, mine), serves ? serving : "", { flag: "wx" }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
      throw new Error(`${folder} is already open in this process`);
    });
    const other = await liveOther(folder, mine);
    if (other === undefined) return () => unlink(join(folder, mine));
    await unlink(join(folder, mine));
    if (attempt === attempts) {
      const where = other.host === me.host ? "" : ` on ${other.host}`;
      throw new FolderInUseError(
        `${folder} is in use by process ${other.pid}${where}; stop it first` +
          (where === "" ? "" : `, or, if it is gone for certain, remove ${join(folder, nameOf(other))}`),
        where === "" && (await isServing(join(folder, nameOf(other)))),
      );
    }
    await new Promise((done) => setTimeout(done, 20 + Math.random() * 80));
  }
}

/** One that has just gone does not serve. */
const isServing = (path: string) =>
  readFile(path, "utf8")
    .then((text) => text === serving)
    .catch(() => false);

async function liveOther(folder: string, mine: string): Promise<Holder | undefined> {
  for (const name of await readdir(folder)) {
    if (name === mine) continue;
    const holder = parseName(name);
    if (holder === undefined) continue;
    if (await isAlive(holder)) return holder;
    await unlink(join(folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
  }
  return undefined;
}
