import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../src/database/package-root.js";
import { freePort } from "./free-port.js";
import { workerSecret } from "./user-token.js";

/** `perch start`, or another command that serves, as a process of its own that can be killed and started again. */
export interface PerchProcess {
  /** Where its Loro clients connect; the same after every start. */
  readonly url: string;
  readonly httpUrl: string;
  /** What it has printed so far, over all starts. */
  readonly output: string;
  readonly pid: number | undefined;
  /** Whether it ended without having been asked to. */
  readonly ended: boolean;
  /** Resolves once it takes connections; rejects with what it printed when it ends before that. */
  start(): Promise<void>;
  /** Stops it where it is (SIGSTOP), and lets it go on (SIGCONT). */
  pause(): void;
  resume(): void;
  /** Ends it in the middle of whatever it does (SIGKILL). */
  kill(): Promise<void>;
  /** Asks it to end (SIGTERM). Out: its exit code and how long it took. */
  stop(): Promise<{ code: number | null; ms: number }>;
}

export interface PerchProcessOptions {
  /** Default: start. */
  args?: readonly string[];
  /** For node itself, to profile for example. */
  nodeArgs?: readonly string[];
  env?: Readonly<Record<string, string>>;
  cwd?: string;
  port?: number;
}

const startsWithinMs = 120_000;

/** Without what is set for tests and scripts themselves: perch refuses settings that it does not know. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PERCH_|DATABASE_URL$)/.test(name)));
}

/** `perch worker` is never in development mode; `userToken` makes the tokens that it takes. */
const keyOf = ({ args = [] }: PerchProcessOptions) => (args[0] === "worker" ? { PERCH_JWT_SECRET: workerSecret } : {});

export async function perchProcess(options: PerchProcessOptions = {}): Promise<PerchProcess> {
  const port = options.port ?? (await freePort());
  const httpUrl = `http://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;
  let output = "";

  async function ready(started: ChildProcess): Promise<void> {
    const deadline = Date.now() + startsWithinMs;
    let refused: unknown;
    while (Date.now() < deadline) {
      if (started.exitCode !== null || started.signalCode !== null) throw new Error(`perch ended:\n${output}`);
      // Until it listens nobody answers. Why, is told where it takes too long.
      const answer = await fetch(`${httpUrl}/readyz`).catch((error: unknown) => {
        refused = error;
        return undefined;
      });
      await answer?.arrayBuffer();
      if (answer?.ok) return;
      await new Promise((done) => setTimeout(done, 20));
    }
    throw new Error(`perch is not ready after ${startsWithinMs / 1000} s:\n${output}`, { cause: refused });
  }

  async function end(signal: "SIGKILL" | "SIGTERM"): Promise<number | null> {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return ending?.exitCode ?? null;
    const ended = new Promise<number | null>((done) => ending.once("close", done));
    ending.kill(signal);
    return ended;
  }

  process.once("exit", () => child?.kill("SIGKILL"));

  return {
    url: `ws://127.0.0.1:${port}/sync`,
    httpUrl,
    get output() {
      return output;
    },
    get pid() {
      return child?.pid;
    },
    get ended() {
      return child !== undefined && (child.exitCode !== null || child.signalCode !== null);
    },
    pause: () => void child?.kill("SIGSTOP"),
    resume: () => void child?.kill("SIGCONT"),
    async start() {
      const main = join(packageRoot, "dist", "bin", "perch.js");
      const started = spawn(process.execPath, [...(options.nodeArgs ?? []), main, ...(options.args ?? ["start"])], {
        cwd: options.cwd,
        env: { ...environment(), ...keyOf(options), ...options.env, PERCH_PORT: String(port) },
        stdio: ["ignore", "pipe", "pipe"],
      });
      child = started;
      for (const stream of [started.stdout, started.stderr]) {
        stream.setEncoding("utf8").on("data", (text: string) => {
          output += text;
        });
      }
      await ready(started);
    },
    async kill() {
      await end("SIGKILL");
    },
    async stop() {
      const asked = performance.now();
      const code = await end("SIGTERM");
      return { code, ms: performance.now() - asked };
    },
  };
}
