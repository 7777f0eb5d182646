/** Runs commands as processes of their own. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../src/database/package-root.js";

export interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  input?: string;
}

/** The environment of these tests without what is set for the tests themselves: perch refuses settings that it does not know. */
export function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PERCH_|DATABASE_URL$)/.test(name)));
}

/** Runs a program to its end. */
export function runProgram(program: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: options.cwd ?? packageRoot, env: { ...environment(), ...options.env } });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
    // A program that ends before it has read what it is given: its exit code says what that means, not the pipe.
    child.stdin.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") reject(error);
    });
    child.stdin.end(options.input ?? "");
  });
}

/** The built command line's entry, for `node`. */
export const perchMain: string = join(packageRoot, "dist", "bin", "perch.js");

/** For processes that live for seconds: half of what opening an embedded database costs is the optimizing compiler. */
export const shortLived: readonly string[] = ["--liftoff-only"];

/** Runs `perch …` as built into dist/. */
export function runPerch(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return runProgram(process.execPath, [...shortLived, perchMain, ...args], options);
}
