import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Engine threads and the command line run from dist/, so the tests build it first. */
function build(): void {
  const tsc = spawnSync("node_modules/.bin/tsc", ["-p", "tsconfig.build.json"], { cwd: root, encoding: "utf8" });
  if (tsc.status !== 0) console.error(`The build reports errors:\n${tsc.stdout}${tsc.stderr}`);
}

export default function setup(): void {
  build();
}
