import { spawnSync } from "node:child_process";
import { rm } from "node:fs/promises";
import { createServer } from "node:http";
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
}

/** Test files run in processes of their own; what they share is made here when the first of them asks for it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  build();
  if (!postgresBinaries(15))
    console.warn("Postgres 15 is not installed here: the suites run on PGlite and Postgres 18 only");
  const templates = createTemplates();
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
  };
}
