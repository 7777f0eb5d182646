import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer } from "node:http";
import { freemem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";
import { postgresBinaries } from "./postgres-server.js";
import { createTemplates } from "./templates.js";

declare module "vitest" {
  interface ProvidedContext {
    /** Where test files ask for the servers and templates that all of them share. */
    templatesUrl: string;
  }
}

/** Engine threads and the command line run from dist/, so the tests build it first. */
function build(): void {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const tsc = spawnSync("node_modules/.bin/tsc", ["-p", "tsconfig.build.json"], { cwd: root, encoding: "utf8" });
  if (tsc.status !== 0) console.error(`The build reports errors:\n${tsc.stdout}${tsc.stderr}`);
  if (!isOlder(join(root, "src"), join(root, "dist/bin/perch.js"))) {
    const bundle = spawnSync("node", ["scripts/bundle-programs.js"], { cwd: root, encoding: "utf8" });
    if (bundle.status !== 0)
      console.error(`The build of the programs reports errors:\n${bundle.stdout}${bundle.stderr}`);
  }
  if (!isOlder(join(root, "src/client/console"), join(root, "dist/console/index.html"))) {
    const vite = spawnSync("npm", ["run", "-s", "build:console"], { cwd: root, encoding: "utf8" });
    if (vite.status !== 0) console.error(`The build of the console reports errors:\n${vite.stdout}${vite.stderr}`);
  }
}

/** Whether all in a folder was there before a file. */
function isOlder(folder: string, file: string): boolean {
  const made = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  return readdirSync(folder, { recursive: true }).every((name) => statSync(join(folder, String(name))).mtimeMs < made);
}

const memory = "/dev/shm";
const needed = 4 * 2 ** 30;

/**
 * What the tests write goes to memory where there is plenty: a database that is made on a disk, and dropped again, costs more than most
 * tests do. What they say of durability they say by killing processes, not machines. Out: the folder, or undefined.
 */
function folderInMemory(): string | undefined {
  try {
    for (const name of readdirSync(memory)) removeLeftOver(name);
    const { bsize, bavail } = statfsSync(memory);
    if (bsize * bavail < needed || freemem() < 2 * needed) return undefined;
    const folder = mkdtempSync(join(memory, `perch-tests-${process.pid}-`));
    // As any folder for temporary files: the servers run as another user, who makes and removes what is theirs.
    chmodSync(folder, 0o1777);
    return folder;
  } catch {
    // No such thing on this system, or not for us: then the usual place.
    return undefined;
  }
}

/** Of a run that was killed. */
function removeLeftOver(name: string): void {
  const [, pid] = /^perch-tests-(\d+)-/.exec(name) ?? [];
  if (pid === undefined || isRunning(Number(pid))) return;
  try {
    rmSync(join(memory, name), { recursive: true, force: true });
  } catch (error) {
    // A file system that a test mounted in it may still be there.
    console.warn(`${join(memory, name)} cannot be removed: ${error instanceof Error ? error.message : error}`);
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Test files run in processes of their own; what they share is made here when the first of them asks for it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  build();
  const folder = process.env.TMPDIR === undefined ? folderInMemory() : undefined;
  if (folder !== undefined) process.env.TMPDIR = folder;
  if (!postgresBinaries(15))
    console.warn("Postgres 15 is not installed here: the suites run on PGlite and Postgres 18 only");
  const templates = createTemplates();
  process.env.TEST_CLUSTERS = join(templates.folder, "clusters");
  mkdirSync(process.env.TEST_CLUSTERS);
  const server = createServer((request, response) => {
    // A kept connection could time out just as the next question is on its way.
    response.setHeader("connection", "close");
    templates.get(request.url?.slice(1) ?? "").then(
      (answer) => response.end(answer),
      (error: unknown) => {
        response.statusCode = 500;
        response.end(error instanceof Error ? error.stack : String(error));
      },
    );
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  project.provide("templatesUrl", `http://127.0.0.1:${address.port}/`);

  return async () => {
    server.close();
    server.closeAllConnections();
    await templates.close();
    await rm(templates.folder, { recursive: true, force: true });
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  };
}
