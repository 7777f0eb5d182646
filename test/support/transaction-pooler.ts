/**
 * Transaction-pooling proxies between clients and a Postgres server: many clients share few server connections, each for a transaction
 * at a time.
 *
 * `startTransactionPooler` is one of our own, less forgiving than real ones: a client gets another server connection for each
 * transaction. So whatever a session would remember (named prepared statements, SET, LISTEN, temporary tables, advisory locks of the
 * session) is lost, and met by somebody else. `startPgBouncer` is the real one, where it is installed (Debian: `apt install pgbouncer`).
 */
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { freePort } from "../../scripts/support/free-port.js";

export interface Pooler {
  /** In: the URL of a database on the server. Out: the same through the proxy. */
  url(direct: string): string;
  close(): Promise<void>;
}

/** A message of the wire protocol: type, length (itself included), body. */
const headerBytes = 5;

/** Cuts a stream into messages. */
function messages(on: (message: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= headerBytes) {
      const end = 1 + rest.readInt32BE(1);
      if (rest.length < end) return;
      const message = rest.subarray(0, end);
      rest = rest.subarray(end);
      on(message);
    }
  };
}

const typeOf = (message: Buffer) => String.fromCharCode(message[0] ?? 0);

interface Server {
  readonly socket: Socket;
  /** What it said of itself when it was connected to, for the clients. */
  readonly greeting: Buffer[];
  /** Called with each message while a client has it. */
  client: ((message: Buffer) => void) | undefined;
  broken: (() => void) | undefined;
}

/** The server connections of one user and database. */
interface Pool {
  readonly startup: Buffer;
  readonly idle: Server[];
  readonly waiting: ((server: Server) => void)[];
  size: number;
}

/**
 * In: the server's port; how many server connections each user and database may have; and for how long a client keeps one: for a transaction, or only
 * for a statement, which is of no use to perch and has to be noticed.
 */
export async function startTransactionPooler(
  serverPort: number,
  poolSize = 3,
  mode: "transaction" | "statement" = "transaction",
): Promise<Pooler> {
  const pools = new Map<string, Pool>();
  const sockets = new Set<Socket>();
  const track = (socket: Socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  };

  function dial(startup: Buffer): Promise<Server> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port: serverPort });
      track(socket);
      const server: Server = { socket, greeting: [], client: undefined, broken: undefined };
      let ready = false;
      socket.on("connect", () => socket.write(startup));
      socket.on("close", () => {
        reject(new Error("the server closed the connection"));
        server.broken?.();
      });
      socket.on(
        "data",
        messages((message) => {
          // Without a client only notifications come, for a session that nobody has: they are lost.
          if (ready) return server.client?.(message);
          server.greeting.push(Buffer.from(message));
          if (typeOf(message) === "E") socket.destroy();
          if (typeOf(message) !== "Z") return;
          ready = true;
          resolve(server);
        }),
      );
    });
  }

  async function take(pool: Pool, last: Server | undefined): Promise<Server> {
    if (pool.size < poolSize) {
      pool.size += 1;
      try {
        return await dial(pool.startup);
      } catch (error) {
        pool.size -= 1;
        throw error;
      }
    }
    // Not the one it had before, whenever there is another.
    const at = pool.idle.findIndex((server) => server !== last);
    const [server] = pool.idle.splice(Math.max(0, at), 1);
    return server ?? new Promise<Server>((resolve) => pool.waiting.push(resolve));
  }

  function give(pool: Pool, server: Server): void {
    server.client = undefined;
    server.broken = () => {
      pool.size -= 1;
      pool.idle.splice(0, pool.idle.length, ...pool.idle.filter((other) => other !== server));
    };
    const next = pool.waiting.shift();
    if (next === undefined) pool.idle.push(server);
    else next(server);
  }

  function serve(client: Socket, pool: Pool, greeting: readonly Buffer[]): (chunk: Buffer) => void {
    let server: Server | undefined;
    let last: Server | undefined;
    /** How many times the server has still to say that it is ready. */
    let owed = 0;
    /** What came while a server connection was waited for. */
    let held: Buffer[] | undefined;

    function answered(message: Buffer): void {
      client.write(message);
      if (typeOf(message) !== "Z") return;
      owed -= 1;
      if (owed > 0 || server === undefined) return;
      if (mode === "transaction" && message[headerBytes] !== "I".charCodeAt(0)) return;
      last = server;
      server = undefined;
      give(pool, last);
    }

    function ask(message: Buffer): void {
      const type = typeOf(message);
      if (type === "X") {
        client.end();
        return;
      }
      if (type === "Q" || type === "S") owed += 1;
      if (server !== undefined) server.socket.write(message);
      else if (held !== undefined) held.push(Buffer.from(message));
      else {
        held = [Buffer.from(message)];
        take(pool, last).then(attach, () => client.destroy());
      }
    }

    function attach(taken: Server): void {
      if (client.destroyed) {
        give(pool, taken);
        return;
      }
      server = taken;
      taken.client = answered;
      taken.broken = () => {
        pool.size -= 1;
        client.destroy();
      };
      for (const message of held ?? []) taken.socket.write(message);
      held = undefined;
    }

    client.on("close", () => {
      // In the middle of something: the server has to forget it.
      server?.socket.destroy();
    });
    for (const message of greeting) client.write(typeOf(message) === "K" ? keyOfItsOwn() : message);
    return messages(ask);
  }

  const listener = createServer((client) => {
    track(client);
    let begun: ((chunk: Buffer) => void) | undefined;
    client.on("data", (chunk) => {
      if (begun !== undefined) return begun(chunk);
      const [length, code] = [chunk.readInt32BE(0), chunk.readInt32BE(4)];
      const sslRequest = 80_877_103;
      const cancelRequest = 80_877_102;
      if (code === sslRequest) client.write("N");
      else if (code === cancelRequest || chunk.length !== length) client.destroy();
      else begin(client, Buffer.from(chunk));
    });

    /** The first connection of a user and database is made at once, for its greeting. */
    function begin(socket: Socket, startup: Buffer): void {
      const early: Buffer[] = [];
      begun = (chunk) => early.push(chunk);
      const key = startup.toString("latin1");
      const pool = pools.get(key) ?? { startup, idle: [], waiting: [], size: 0 };
      pools.set(key, pool);
      take(pool, undefined).then(
        (server) => {
          begun = serve(socket, pool, server.greeting);
          give(pool, server);
          for (const chunk of early) begun(chunk);
        },
        () => socket.destroy(),
      );
    }
  });
  await new Promise<void>((done) => listener.listen(0, "127.0.0.1", done));
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("the pooler has no port");
  const { port } = address;
  return {
    url: (direct) => withPort(direct, port),
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => listener.close(done));
    },
  };
}

/** What a client would have to name to cancel something: not a server's process, since it has none. */
function keyOfItsOwn(): Buffer {
  const message = Buffer.concat([Buffer.from("K\0\0\0\x0c", "latin1"), randomBytes(8)]);
  message.writeUInt8((message[headerBytes] ?? 0) & 0x7f, headerBytes);
  return message;
}

function withPort(url: string, port: number): string {
  const changed = new URL(url);
  changed.port = String(port);
  return changed.href;
}

/** Where the real one is, or undefined. */
export function pgBouncerBinary(): string | undefined {
  const folders = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"];
  return folders.map((folder) => join(folder, "pgbouncer")).find((path) => existsSync(path));
}

/** PgBouncer. In: the server's port, and the logins that may pass. */
export async function startPgBouncer(
  serverPort: number,
  users: readonly string[],
  poolSize = 3,
  mode: "transaction" | "statement" = "transaction",
): Promise<Pooler> {
  const binary = pgBouncerBinary();
  if (binary === undefined) throw new Error("pgbouncer is not installed here");
  const folder = mkdtempSync(join(tmpdir(), "perch-pgbouncer-"));
  chmodSync(folder, 0o755);
  const port = await freePort();
  const list = join(folder, "users.txt");
  writeFileSync(list, users.map((user) => `"${user}" ""\n`).join(""));
  const config = join(folder, "pgbouncer.ini");
  const settings = {
    listen_addr: "127.0.0.1",
    listen_port: port,
    unix_socket_dir: "",
    auth_type: "trust",
    auth_file: list,
    pool_mode: mode,
    default_pool_size: poolSize,
    max_client_conn: 500,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  writeFileSync(config, `[databases]\n* = host=127.0.0.1 port=${serverPort}\n[pgbouncer]\n${lines.join("\n")}\n`);
  // It refuses to run as root, as Postgres does.
  const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  const child = spawn(binary, ["-q", ...user, config], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const killed = () => child.kill("SIGKILL");
  process.once("exit", killed);
  const url = (direct: string) => withPort(direct, port);
  await answering(url(`postgres://${users[0]}@127.0.0.1:${serverPort}/postgres`), () => {
    if (child.exitCode !== null) throw new Error(`pgbouncer ended: ${said}`);
  });
  return {
    url,
    async close() {
      process.off("exit", killed);
      const ended = new Promise((done) => child.once("close", done));
      child.kill("SIGINT");
      child.kill("SIGKILL");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function answering(url: string, check: () => void): Promise<void> {
  for (let waited = 0; ; waited += 50) {
    const client = new pg.Client({ connectionString: url });
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      check();
      if (waited > 30_000) throw error;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** For people who read the output of the tests. */
export function pgBouncerVersion(): string | undefined {
  const binary = pgBouncerBinary();
  return binary && execFileSync(binary, ["--version"], { encoding: "utf8" }).split("\n")[0];
}
