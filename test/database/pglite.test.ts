import { spawn } from "node:child_process";
import fs from "node:fs";
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { lockFolder } from "../../src/database/folder-lock.js";
import { openDatabase } from "../../src/database/open.js";
import { packageRoot } from "../../src/database/package-root.js";
import { fakeClock } from "../support/fake-clock.js";

let root: string;
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "perch-folders-"));
});

afterAll(() => rm(root, { recursive: true }));

const newFolder = () => {
  count += 1;
  return join(root, String(count));
};

const distFile = (path: string) => pathToFileURL(join(packageRoot, "dist", path)).href;

/** A process that opens a folder, inserts rows without end and says each number once it is committed. */
function writer(folder: string) {
  const program = `
    const { openDatabase } = await import(${JSON.stringify(distFile("database/open.js"))});
    const db = await openDatabase({ dataDir: process.argv[1] });
    await db.query("create table if not exists things (n int)");
    for (let n = 1; ; n += 1) {
      await db.query("insert into things values ($1)", [n]);
      console.log(n);
    }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program, folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let written = 0;
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    written = Number(text.trim().split("\n").at(-1));
  });
  const ended = new Promise((done) => child.once("close", done));
  return {
    pid: child.pid,
    written: () => written,
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** A process that tries to lock a folder, says how that went, and keeps what it got until told to leave. */
function contender(folder: string) {
  const program = `
    const { lockFolder } = await import(${JSON.stringify(distFile("database/folder-lock.js"))});
    const unlock = await lockFolder(process.argv[1]).catch((error) => void process.stdout.write(error.message));
    if (unlock) process.stdout.write("mine");
    process.stdin.resume().on("end", () => unlock?.());`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program, folder], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = new Promise((done) => child.once("close", done));
  return {
    verdict: new Promise<string>((done) => child.stdout.setEncoding("utf8").once("data", done)),
    leave() {
      child.stdin.end();
      return ended;
    },
  };
}

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

describe("an embedded database in a folder", () => {
  it("keeps its rows from one opening to the next", async () => {
    const folder = newFolder();
    for (let n = 1; n <= 2; n += 1) {
      const db = await openDatabase(`pglite:${folder}`);
      await db.query("create table if not exists things (n int)");
      await db.query("insert into things values ($1)", [n]);
      expect(await db.query("select count(*) as count from things")).toEqual([{ count: n }]);
      await db.close();
    }
    expect(await readdir(folder)).toEqual(["postgres"]);
  });

  it("is its user's alone, whatever the umask, also one that was not so before", async () => {
    const folder = newFolder();
    const before = process.umask(0o022);
    try {
      const open = async () => {
        const db = await openDatabase({ dataDir: folder });
        await db.query("create table if not exists things as select generate_series(1, 20000) as n");
        return db;
      };
      await (await open()).close();
      const modes = async () => {
        const files = await readdir(folder, { recursive: true });
        const all = await Promise.all(
          ["", ...files].map(async (path) => (await lstat(join(folder, path))).mode & 0o777),
        );
        expect(all.length).toBeGreaterThan(500);
        return new Set(all);
      };
      expect(await modes()).toEqual(new Set([0o700, 0o600]));
      await chmod(folder, 0o755);
      await chmod(join(folder, "postgres", "PG_VERSION"), 0o666);
      const db = await open();
      expect((await stat(folder)).mode & 0o777).toBe(0o700);
      expect((await stat(join(folder, "postgres", "PG_VERSION"))).mode & 0o777).toBe(0o600);
      await db.close();
    } finally {
      process.umask(before);
    }
  });

  it("leaves the files beside it as they are, where it is opened in a folder that has others", async () => {
    const folder = newFolder();
    await mkdir(join(folder, "scripts"), { recursive: true });
    await writeFile(join(folder, "scripts", "run.sh"), "", { mode: 0o755 });
    await chmod(join(folder, "scripts", "run.sh"), 0o755);
    await (await openDatabase({ dataDir: folder })).close();
    expect((await stat(join(folder, "scripts", "run.sh"))).mode & 0o777).toBe(0o755);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
  });

  it("is not opened in a folder of another user", async () => {
    const folder = await mkdtemp(join(root, "others-"));
    const { uid } = await stat(folder);
    const me = vi.spyOn(process, "getuid").mockReturnValue(uid + 1);
    await expect(openDatabase({ dataDir: folder })).rejects.toThrow(`${folder} belongs to another user (${uid}, and`);
    me.mockRestore();
    expect(await readdir(folder)).toEqual([]);
  });

  it("says what is wrong when its files cannot be made", async () => {
    const folder = newFolder();
    await mkdir(join(folder, "postgres"), { recursive: true });
    await symlink("/nowhere/at/all", join(folder, "postgres", "PG_VERSION"));
    const error = await openDatabase({ dataDir: folder }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).not.toContain("[object Object]");
  });

  it("belongs to one process at a time: a second is refused, and told which has it", async () => {
    const folder = newFolder();
    const first = writer(folder);
    while (first.written() === 0) await pause(20);
    await expect(openDatabase({ dataDir: folder, share: false })).rejects.toThrow(
      `${folder} is in use by process ${first.pid}; stop it first`,
    );

    await first.kill();
    const acknowledged = first.written();
    const db = await openDatabase({ dataDir: folder });
    const [rows] = await db.query<{ count: number }>("select count(*) as count from things");
    expect(rows?.count).toBeGreaterThanOrEqual(acknowledged);
    await db.close();
  });

  it("waits for the disk before it calls a transaction committed", async () => {
    const db = await openDatabase({ dataDir: newFolder() });
    await db.query("create table things (n int)");
    const sync = vi.spyOn(fs, "fdatasyncSync");
    for (let n = 1; n <= 5; n += 1) {
      await db.transaction((tx) => tx.query("insert into things values ($1)", [n]));
      expect(sync).toHaveBeenCalledTimes(n);
    }
    sync.mockRestore();
    await db.close();
  });

  it("says of a statement that fails where the program asked for it, not where the engine found out", async () => {
    const db = await openDatabase("memory:");
    const asked = {
      alone: async () => await db.query("select nothing.at_all()"),
      within: () => db.transaction(async (tx) => await tx.query("select nothing.at_all()")),
      script: () => db.transaction(async (tx) => await tx.script("select nothing.at_all()")),
    };
    for (const [how, ask] of Object.entries(asked)) {
      const error = await ask().catch((caught: unknown) => caught);
      expect(error, how).toMatchObject({ code: "3F000" });
      const [nearest, ...others] = String((error as Error).stack).match(/^ {4}at .*$/gm) ?? [];
      expect(nearest, how).toContain("/src/database/pglite.ts:");
      expect(others.join("\n"), how).toContain("/test/database/pglite.test.ts:");
    }
    await db.close();
  });

  it("wakes its process no more once nobody asks it anything", async () => {
    const timers = fakeClock("pglite", { toFake: ["setTimeout", "clearTimeout", "Date"] });
    const db = await openDatabase("memory:");
    await db.query("create table things (n int)");
    await vi.advanceTimersByTimeAsync(60_000);
    const left = timers();
    vi.useRealTimers();
    await db.close();
    expect(left).toEqual([]);
  });

  it("cannot be opened twice in one process", async () => {
    const folder = newFolder();
    const db = await openDatabase({ dataDir: folder });
    await expect(openDatabase({ dataDir: folder })).rejects.toThrow("already open in this process");
    await db.close();
    await (await openDatabase({ dataDir: folder })).close();
  });
});

describe("the lock of a folder", () => {
  it("is not taken from a process on another machine, of which nothing can be known", async () => {
    const folder = await mkdtemp(join(root, "far-"));
    const name = "lock.elsewhere.1.0";
    await writeFile(join(folder, name), "");
    await expect(lockFolder(folder)).rejects.toThrow(
      `${folder} is in use by process 1 on elsewhere; stop it first, or, if it is gone for certain, remove ${join(folder, name)}`,
    );
  });

  it("passes on when its process is gone, also when a new process got its number", async () => {
    const folder = await mkdtemp(join(root, "stale-"));
    const host = encodeURIComponent(hostname()).replaceAll(".", "%2E");
    await writeFile(join(folder, `lock.${host}.${process.ppid}.an-earlier-start`), "");
    const unlock = await lockFolder(folder);
    expect((await readdir(folder)).filter((name) => name.startsWith("lock."))).toHaveLength(1);
    await unlock();
    expect(await readdir(folder)).toEqual([]);
  });

  it("passes on when its container is gone, and not before", async () => {
    const folder = await mkdtemp(join(root, "container-"));
    const boot = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).slice(0, 8);
    const lock = join(folder, `lock.container-1.7.${boot}-99`);
    await writeFile(lock, "");
    const socket = join(folder, `alive.7.${boot}-99`);
    const program = `require("node:net").createServer().listen(process.argv[1], () => console.log("listens"))`;
    const child = spawn(process.execPath, ["-e", program, socket], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((done) => child.stdout.once("data", done));
    await expect(lockFolder(folder)).rejects.toThrow("is in use by process 7 on container-1");
    const ended = new Promise((done) => child.once("close", done));
    child.kill("SIGKILL");
    await ended;
    await (await lockFolder(folder))();
    expect(await readdir(folder)).toEqual([]);

    // Of a process that shows no sign of life nothing is known, unless the machine has started anew since.
    await writeFile(lock, "");
    await expect(lockFolder(folder)).rejects.toThrow("is in use by process 7 on container-1");
    await rename(lock, join(folder, "lock.container-1.7.00000000-99"));
    await (await lockFolder(folder))();
    expect(await readdir(folder)).toEqual([]);
  });

  it("goes by kernel and namespace, and not by the names of hosts, which two containers may share", async () => {
    const folder = await mkdtemp(join(root, "names-"));
    const boot = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).slice(0, 8);
    const here = /\d+/.exec(await readlink("/proc/self/ns/pid"))?.[0];
    const host = encodeURIComponent(hostname()).replaceAll(".", "%2E");
    const held = async (name: string) => {
      await writeFile(join(folder, name), "");
      const refused = await lockFolder(folder).then(
        async (unlock) => unlock().then(() => undefined),
        (error: Error) => error.message,
      );
      await rm(join(folder, name), { force: true });
      return refused;
    };
    // A number that no process has here; in another container of that name there may be one.
    expect(await held(`lock.${host}.4194304.${boot}-99.1`)).toMatch(
      /in use by process 4194304 on .*; stop it first, or/,
    );
    // Here it has gone, whatever the machine was called.
    expect(await held(`lock.${host}.4194304.${boot}-99.${here}`)).toBeUndefined();
    expect(await held(`lock.before.4194304.${boot}-99.${here}`)).toBeUndefined();
    // All machines number their first namespace alike: another boot is another machine, or this one's past.
    expect(await held(`lock.${host}.${process.ppid}.00000000-99.${here}`)).toBeUndefined();
    const [name = ""] = await lockFolder(folder).then(async (unlock) => {
      const names = (await readdir(folder)).filter((each) => each.startsWith("lock."));
      await unlock();
      return names;
    });
    expect(name.split(".").at(-1)).toBe(here);
    // Of a process that lives, whatever the host was called when it began.
    const stat = (await readFile(`/proc/${process.ppid}/stat`, "utf8")).replace(/^.*\)/s, "").split(" ");
    expect(await held(`lock.before.${process.ppid}.${boot}-${stat[20]}.${here}`)).toMatch(
      `in use by process ${process.ppid}; stop it first`,
    );
  });

  it("passes on when its process has ended and its parent has not looked", async () => {
    const folder = await mkdtemp(join(root, "zombie-"));
    const parent = spawn("sh", ["-c", "cat <&3 & echo $!; exec sleep 60"], {
      stdio: ["ignore", "pipe", "inherit", "pipe"],
    });
    const pid = Number(await new Promise((done) => parent.stdout?.setEncoding("utf8").once("data", done)));
    // A shell may look; what it becomes does not.
    while ((await readFile(`/proc/${parent.pid}/comm`, "utf8")).trim() !== "sleep") await pause(10);
    (parent.stdio[3] as NodeJS.WritableStream).end();
    let stat: string[] = [];
    do {
      stat = (await readFile(`/proc/${pid}/stat`, "utf8")).split(" ");
      await pause(10);
    } while (stat[2] !== "Z");
    const boot = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).slice(0, 8);
    const host = encodeURIComponent(hostname()).replaceAll(".", "%2E");
    await writeFile(join(folder, `lock.${host}.${pid}.${boot}-${stat[21]}`), "");
    await (await lockFolder(folder))();
    parent.kill();
  });

  it("goes to one of many processes that start at once on a folder whose last owner was killed", async () => {
    const folder = await mkdtemp(join(root, "race-"));
    const host = encodeURIComponent(hostname()).replaceAll(".", "%2E");
    for (let round = 0; round < 3; round += 1) {
      await writeFile(join(folder, `lock.${host}.4194305.0`), "");
      const contenders = Array.from({ length: 8 }, () => contender(folder));
      const verdicts = await Promise.all(contenders.map(({ verdict }) => verdict));
      expect(verdicts.filter((verdict) => verdict === "mine").length).toBeLessThanOrEqual(1);
      expect(verdicts.filter((verdict) => verdict !== "mine" && !verdict.includes("is in use by process"))).toEqual([]);
      await Promise.all(contenders.map(({ leave }) => leave()));
      expect(await readdir(folder)).toEqual([]);
    }
  });
});
