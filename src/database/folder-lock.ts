import { readdir, readFile, readlink, statfs, unlink, writeFile } from "node:fs/promises";
import { connect as connectTo, createServer, type Server } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";

const prefix = "lock.";

interface Holder {
  host: string;
  pid: number;
  /** When the process started, so that a new process with an old number is not taken for the holder; "0" where unknown. */
  started: string;
  /** The namespace that its number is of, as the kernel numbers them; undefined where there are none, or an earlier version wrote it. */
  pids: string | undefined;
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
    const [state = "", ...rest] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie has ended; only its parent has not yet looked.
    return /[ZX]/.test(state) ? undefined : `${bootOf(boot)}-${rest[18]}`;
  } catch {
    // No /proc on this system: the number alone has to do.
    return "0";
  }
}

const bootOf = (text: string) => text.slice(0, 8);

/** Which processes this one can see: those of its container, say. */
const namespaceHere = () =>
  readlink("/proc/self/ns/pid").then(
    (text) => /\d+/.exec(text)?.[0],
    () => undefined,
  );

const nameOf = ({ host, pid, started, pids }: Holder) =>
  [
    `${prefix}${encodeURIComponent(host).replaceAll(".", "%2E")}`,
    pid,
    started,
    ...(pids === undefined ? [] : [pids]),
  ].join(".");

function parseName(name: string): Holder | undefined {
  const [host, pid, started, pids] = name.slice(prefix.length).split(".");
  if (!name.startsWith(prefix) || host === undefined || pid === undefined || started === undefined) return undefined;
  return { host: decodeURIComponent(host), pid: Number(pid), started, pids };
}

/** A socket that the holder listens on for as long as it lives, whichever container it is in. */
const signOfLife = (folder: string, { pid, started }: Holder) => join(folder, `alive.${pid}.${started}`);

/** Where there can be no socket (a path of over 100 bytes, a file system without), the process is known by its number alone. */
async function showLife(path: string): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy());
  const listening = await new Promise<boolean>((done) => {
    server.once("error", () => done(false));
    server.listen(path, () => done(true));
  });
  if (!listening) return undefined;
  return server.unref();
}

/** What somebody who connects is told: "lives", "gone" (nobody listens any more), or undefined (there is no such socket). */
function lookForLife(path: string): Promise<"lives" | "gone" | undefined> {
  return new Promise((done) => {
    const socket = connectTo(path);
    const say = (answer: "lives" | "gone" | undefined) => {
      socket.destroy();
      done(answer);
    };
    socket.once("connect", () => say("lives"));
    socket.once("error", ({ code }: NodeJS.ErrnoException) => say(code === "ECONNREFUSED" ? "gone" : undefined));
  });
}

/** ext, xfs, btrfs, tmpfs, overlay, zfs, f2fs, bcachefs: one kernel has them mounted, and no other. */
const localFileSystems = [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0x2fc12fc1, 0xf2f52010, 0xca451a4e];

const bootHere = () => readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => undefined);

/**
 * Whether the number of the holder's process says something here: on the same kernel, in the same namespace. Names of hosts say neither: two
 * containers, or two machines, may have one, and a machine may be given another. Where the system tells nothing else they have to do.
 */
async function isNear({ host, started, pids }: Holder): Promise<boolean> {
  const [here, boot] = await Promise.all([namespaceHere(), bootHere()]);
  if (pids === undefined || here === undefined || boot === undefined) return host === hostname();
  return pids === here && started.startsWith(`${bootOf(boot)}-`);
}

async function isAlive(folder: string, holder: Holder): Promise<boolean> {
  const life = await lookForLife(signOfLife(folder, holder));
  if (life === "lives") return true;
  if (await isNear(holder)) return (await startOf(holder.pid)) === holder.started;
  // Of another container its number tells nothing here. But on the same kernel a socket that nobody listens on is the proof that it has
  // gone; and a folder of a local file system, which this kernel has, has no process of another kernel, only of an earlier boot.
  const boot = await bootHere();
  if (boot === undefined || holder.started === "0") return true;
  if (holder.started.startsWith(`${bootOf(boot)}-`)) return life !== "gone";
  return !localFileSystems.includes((await statfs(folder)).type);
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
 * after a pause of random length. Files of processes that are proved to be dead are removed; nobody's live file ever is.
 * Throws FolderInUseError when a live process has the folder.
 */
export async function lockFolder(folder: string, serves = false): Promise<() => Promise<void>> {
  const started = (await startOf(process.pid)) ?? "0";
  const me: Holder = { host: hostname(), pid: process.pid, started, pids: await namespaceHere() };
  const mine = nameOf(me);
  const life = await showLife(signOfLife(folder, me));
  try {
    const unlock = await takeTurn(folder, mine, serves);
    return async () => {
      await unlock();
      await quiet(life);
    };
  } catch (error) {
    await quiet(life);
    throw error;
  }
}

const quiet = (life: Server | undefined) => new Promise<void>((done) => (life ? life.close(() => done()) : done()));

async function takeTurn(folder: string, mine: string, serves: boolean): Promise<() => Promise<void>> {
  const attempts = 5;
  for (let attempt = 1; ; attempt += 1) {
    await writeFile(join(folder, mine), serves ? serving : "", { flag: "wx" }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
      throw new Error(`${folder} is already open in this process: use that database, or close it first`);
    });
    const other = await liveOther(folder, mine);
    if (other === undefined) return () => unlink(join(folder, mine));
    await unlink(join(folder, mine));
    if (attempt === attempts) {
      const where = (await isNear(other)) ? "" : ` on ${other.host}`;
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
    if (await isAlive(folder, holder)) return holder;
    for (const path of [join(folder, name), signOfLife(folder, holder)]) {
      await unlink(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
      });
    }
  }
  return undefined;
}
