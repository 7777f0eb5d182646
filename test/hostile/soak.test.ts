import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";

/** `npm run test:hostile` does the same for two minutes, with another seed each time, and judges times and memory too. */
it("everything that has ever hurt such a server, at once, ends no process, loses no honest edit and shows nobody a secret", () => {
  const run = (script: string, ...args: string[]) =>
    spawnSync(process.execPath, [script, ...args], { cwd: packageRoot, encoding: "utf8" });
  const compiled = run("node_modules/typescript/bin/tsc", "-p", "tsconfig.scripts.json");
  expect(compiled.stdout + compiled.stderr).toBe("");
  const seed = process.env.PERCH_SEED ?? "20261129";
  const soak = run("build/scripts/hostile/main.js", "--seconds", "4", "--seed", seed, "--lenient");
  expect(soak.status, soak.stdout + soak.stderr).toBe(0);
}, 300_000);
