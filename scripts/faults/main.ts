import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { figure } from "../support/figures.js";
import { type FaultsResult, runFaults } from "./run.js";

const help = `Usage: npm run test:faults [-- options]

Clients edit documents through several nodes on one Postgres, while nodes, sockets, database connections and Postgres
itself are killed, paused and cut at random. In the end all copies must be equal and hold every acknowledged edit.

  --seconds N     how long; default 120
  --seed N        which faults, in which order; default: another each time, and printed
  --clients N     default 8
  --documents N   default 5
  --nodes N       default 3
  --verbose       print each fault as it begins, and keep what the nodes logged

Exit code 1 when anything was lost, or is not equal, or gave up.
`;

function count(text: string, name: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} must be a whole number from 1`);
  return value;
}

const print = (line: string) => process.stdout.write(`${line}\n`);
const row = (name: string, value: number | string) => print(`  ${name.padEnd(36)}${String(value).padStart(10)}`);
const maxShown = 40;

function report(result: FaultsResult): boolean {
  const total = [...result.faults.values()].reduce((sum, each) => sum + each, 0);
  row("edits", figure(result.edits));
  row("of these acknowledged", figure(result.acknowledged));
  row("pushed by SQL", figure(result.sqlEdits));
  row("batches refused, and healed", figure(result.refusals));
  row("clients closed for good", figure(result.clientsClosed));
  for (const [code, times] of [...result.closes].sort()) row(`sockets closed with ${code}`, figure(times));
  row("joins answered from behind", figure(result.staleJoins));
  row("looks into the database meanwhile", figure(result.audits));
  row("faults", figure(total));
  for (const [name, times] of [...result.faults].sort()) row(`  ${name}`, figure(times));
  row("all equal after the last", `${(result.settledMs / 1000).toFixed(1)} s`);
  row("losses", figure(result.losses.length));
  const wrong = [...result.differences, ...result.breakdowns, ...result.losses];
  for (const line of wrong.slice(0, maxShown)) print(`  ✗ ${line}`);
  if (wrong.length > maxShown) print(`  ✗ and ${wrong.length - maxShown} more`);
  if (wrong.length === 0) print("  ✓ all replicas, stored documents and records are equal, with every edit in them");
  return wrong.length === 0;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "120" },
      seed: { type: "string" },
      clients: { type: "string", default: "8" },
      documents: { type: "string", default: "5" },
      nodes: { type: "string", default: "3" },
      verbose: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const seed = values.seed === undefined ? Math.floor(Math.random() * 1_000_000) + 1 : count(values.seed, "seed");
  const seconds = count(values.seconds, "seconds");
  print(`seed ${seed}, ${seconds} s`);
  const begun = Date.now();
  const result = await runFaults({
    seed,
    seconds,
    clients: count(values.clients, "clients"),
    documents: count(values.documents, "documents"),
    nodes: count(values.nodes, "nodes"),
    ...(values.verbose && {
      onFault: (name: string) => print(`  ${((Date.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${name}`),
    }),
  });
  const well = report(result);
  if (values.verbose || !well) {
    const path = join(tmpdir(), `perch-faults-${seed}.log`);
    await writeFile(path, result.log);
    print(`  what the nodes logged: ${path}`);
  }
  return well ? 0 : 1;
}

process.exit(await main());
