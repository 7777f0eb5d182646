import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { table } from "../support/figures.js";
import type { Benchmark } from "./benchmark.js";
import { type Part, pageOf } from "./page.js";

const benchmarks: Record<string, () => Promise<{ benchmark: Benchmark }>> = {
  changes: () => import("./changes/index.js"),
  checkpoints: () => import("./checkpoints/index.js"),
  documents: () => import("./documents/index.js"),
  tables: () => import("./tables/index.js"),
  shapes: () => import("./shapes/index.js"),
  gateway: () => import("./gateway/index.js"),
  wal: () => import("./wal.js"),
};

async function usage(): Promise<string> {
  const lines = await Promise.all(
    Object.entries(benchmarks).map(async ([name, load]) => `  ${name.padEnd(14)}${(await load()).benchmark.summary}`),
  );
  return [
    "Usage: npm run bench [-- [NAME…] [--rounds N] [--seconds N] [--only-patches] [--parts A,B] [--html FILE]]",
    "",
    "Measures perch against others in the same run on the same machine; without names, everything.",
    "",
    ...lines,
    "",
    "  --rounds N    paired rounds, the median of which counts; default 5",
    "  --seconds N   length of each; default 4",
    "  --only-patches   of documents: the rows of applyPatch",
    "  --parts A,B   of shapes: sync, readers, idle, device; of tables: rows, commits, delays, bulk, backlog",
    "  --html FILE   write a page with charts of what was measured, too",
    "",
  ].join("\n");
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "4" },
      "only-patches": { type: "boolean", default: false },
      parts: { type: "string", default: "" },
      html: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
    allowPositionals: true,
  });
  const unknown = positionals.filter((name) => !Object.hasOwn(benchmarks, name));
  if (values.help === true || unknown.length > 0) {
    process.stdout.write(await usage());
    return unknown.length > 0 ? 2 : 0;
  }
  const print = (line: string) => process.stdout.write(`${line}\n`);
  const machine = `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? "unknown processor"}`;
  print(`${machine}\n`);
  const parts: Part[] = [];
  // Written as it grows: a run that ends early leaves what it had found.
  const add = (part: Part) => {
    parts.push(part);
    if (values.html !== undefined) writeFileSync(values.html, pageOf(machine, parts));
  };
  const failed: string[] = [];
  for (const [name, load] of Object.entries(benchmarks)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    const { benchmark } = await load();
    print(`${name}: ${benchmark.summary}\n`);
    add({ is: "heading", title: name, text: benchmark.summary });
    const work = benchmark.run({
      rounds: Number(values.rounds),
      seconds: Number(values.seconds),
      onlyPatches: values["only-patches"],
      parts: values.parts.split(",").filter((name) => name !== ""),
      print,
      show(rows) {
        print(table(rows));
        add({ is: "table", rows });
      },
      distribution: (title, unit, values) => add({ is: "distribution", title, unit, values }),
    });
    // One that fails takes nothing from the others.
    await work.catch((error: unknown) => {
      failed.push(name);
      const said = error instanceof Error ? (error.stack ?? error.message) : String(error);
      print(`${name} failed: ${said}`);
      add({ is: "failure", title: name, text: said });
    });
    print("");
  }
  if (values.html !== undefined) print(`The page with charts: ${values.html}`);
  if (failed.length > 0) print(`Not measured to the end: ${failed.join(", ")}. Run them again: npm run bench -- NAME`);
  return failed.length === 0 ? 0 : 1;
}

process.exit(await main());
