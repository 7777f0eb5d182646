// npm run example: perch on an embedded database, the app's schema, and the app. Ctrl-C ends all of it; .perch-example/ keeps the data.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build, preview } from "vite";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = process.env.EXAMPLE_DATA ?? file("../../.perch-example");
mkdirSync(folder, { recursive: true });
process.chdir(folder);
process.env.PERCH_PORT ??= "4466";
process.env.PERCH_JWT_SECRET ??= randomBytes(32).toString("hex");

const perch = spawn(process.execPath, [file("../../dist/bin/perch.js"), "start"], { stdio: "inherit" });
perch.on("exit", (code) => process.exit(code ?? 1));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => perch.kill("SIGTERM"));

const isReady = () =>
  fetch(`http://127.0.0.1:${process.env.PERCH_PORT}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  );
while (!(await isReady())) await new Promise((done) => setTimeout(done, 100));

// Goes through the process that has the database.
const { openDatabase } = await import("../../dist/index.js");
const db = await openDatabase();
const [{ is_there }] = await db.query("select to_regclass('public.projects') is not null as is_there");
// As a block, so that all of it is there or none.
if (!is_there) await db.query(`do $do$ begin execute $sql$${readFileSync(file("schema.sql"), "utf8")}$sql$; end $do$`);
await db.close();

const configFile = file("vite.config.js");
const outDir = `${folder}/app`;
await build({ configFile, logLevel: "warn", build: { outDir } });
const port = Number(process.env.PORT ?? 4173);
const { resolvedUrls } = await preview({ configFile, build: { outDir }, preview: { port, host: "127.0.0.1" } });
console.log(`\nThe app: ${resolvedUrls?.local[0]} (ada / lovelace, bob / marley: in two browsers)`);
