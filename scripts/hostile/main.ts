import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { figure } from "../support/figures.js";
import type { LoopProbe } from "../support/loop-probe.js";
import { type HostileResult, runHostile } from "./run.js";

const help = `Usage: npm run test:hostile [-- options]

People edit, push and pull, while others send everything that has ever hurt a server of this kind: answers that explode,
backfills that nobody reads, floods, forgeries, locks and notifications of strangers. The node must live, nobody may lose
an edit or read what is not theirs, and nobody else may notice much.

  --seconds N   how long they attack; default 120
  --seed N      default: another each time, and printed
  --only EXPR   only attacks whose name the regular expression matches
  --honest N    nobody attacks: N more do what the bystander does, to compare with
  --lenient     do not judge times and memory: for machines on which much else is going on

Exit code 1 when a promise was broken.
`;

function count(text: string, name: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} must be a whole number from 1`);
  return value;
}

const print = (line: string) => process.stdout.write(`${line}\n`);
const row = (name: string, value: string) => print(`  ${name.padEnd(60)}${value.padStart(24)}`);

const megabytes = (bytes: number) => figure(bytes / 1e6);
const held = ({ heapUsed, external }: LoopProbe) => `${megabytes(heapUsed)} + ${megabytes(external)}`;

/** What is promised of times and memory. */
function tooMuch({ quiet, attacked, loop, memory }: HostileResult): string[] {
  const wrong: string[] = [];
  for (const [name, before] of Object.entries(quiet)) {
    const now = attacked[name] ?? Number.NaN;
    if (!(now <= 3 * before))
      wrong.push(`${name}: p99 is ${figure(now, "ms")}, ${figure(now / before)} times the quiet one`);
  }
  if (!(loop.p99 < 100)) wrong.push(`the event loop's delay is ${figure(loop.p99, "ms")} at p99`);
  const grown = memory.after.rss / memory.before.rss;
  if (!(grown < 1.2)) wrong.push(`memory is ${figure(grown)} times what it was`);
  return wrong;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "120" },
      seed: { type: "string" },
      only: { type: "string" },
      honest: { type: "string" },
      lenient: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const seed = values.seed === undefined ? Math.floor(Math.random() * 1_000_000) + 1 : count(values.seed, "seed");
  const seconds = count(values.seconds, "seconds");
  const honest = values.honest === undefined ? undefined : count(values.honest, "honest");
  print(`seed ${seed}, ${seconds} s`);
  const result = await runHostile({ seed, seconds, only: values.only, honest });
  for (const [name, times] of Object.entries(result.times)) row(name, figure(times, "times"));
  row("sent by attackers", figure(result.sentBytes / 1e6, "MB"));
  row("held for one of them, at most", figure(result.heldBytes / 1e6, "MB"));
  for (const [name, before] of Object.entries(result.quiet)) {
    row(
      `a bystander's ${name}, p99, quiet → attacked`,
      `${figure(before)} → ${figure(result.attacked[name] ?? Number.NaN, "ms")}`,
    );
  }
  row("processors taken by the node and its database", figure(result.processors));
  row("the bystander's own delay, p99", figure(result.bystanderDelay, "ms"));
  row("event loop's delay, p99, max", `${figure(result.loop.p99)}, ${figure(result.loop.max, "ms")}`);
  const { before, after } = result.memory;
  row("memory before → after", `${megabytes(before.rss)} → ${megabytes(after.rss)} MB`);
  row("of it objects, and what they hold outside the heap", `${held(before)} → ${held(after)} MB`);
  row("edits of honest people", figure(result.edits));
  const wrong = [...result.wrong, ...(values.lenient ? [] : tooMuch(result))];
  for (const line of wrong) print(`  ✗ ${line}`);
  if (wrong.length === 0) print("  ✓ the node lives, every honest edit is there, and nothing was read that may not be");
  else {
    const path = join(tmpdir(), `perch-hostile-${seed}.log`);
    await writeFile(path, result.log);
    print(`  what the node logged: ${path}`);
  }
  return wrong.length === 0 ? 0 : 1;
}

process.exit(await main());
