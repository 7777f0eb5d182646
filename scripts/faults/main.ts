import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { postgresBinaries } from "../../test/support/postgres-server.js";
import { figure } from "../support/figures.js";
import { type Kind, kinds, type Resumed, type RoundResult, runFailover } from "./failover.js";
import { type FaultsResult, runFaults } from "./run.js";
import type { Successor } from "./successors.js";

const help = `Usage: npm run test:faults [-- options]

Clients edit documents through several nodes on one Postgres, while nodes, sockets, database connections and Postgres
itself are killed, paused and cut at random. In the end all copies must be equal and hold every acknowledged edit.

  --seconds N     how long; default 120
  --seed N        which faults, in which order; default: another each time, and printed
  --clients N     default 8
  --documents N   default 5
  --nodes N       default 3
  --verbose       print each fault as it begins, and keep what the nodes logged

  --failover      instead of all that: the server of the database is killed in each round and its standby promoted, while
                  clients edit, push, put checkpoints, write typed rows and follow the log; on each Postgres that is
                  installed. After five rounds with a synchronous standby, which must lack nothing that was acknowledged,
                  comes one with a standby that is behind, which must be noticed before anybody is served
  --restore       the same with what is restored: a backup as it was made, and, in turn, one with the log up to a point
                  (point-in-time recovery)
  --rounds N      rounds with a synchronous standby, default 20; with --restore, rounds, default 10
  --postgres N    only on this version, 15 or 18

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

/** After every fifth one with a standby that has all comes one that is behind. */
const standbys = (rounds: number): Successor[] =>
  Array.from({ length: rounds }, (_, n): Successor[] =>
    n % 5 === 4 ? ["synchronous", "behind"] : ["synchronous"],
  ).flat();
const restores = (rounds: number): Successor[] =>
  Array.from({ length: rounds }, (_, n) => (n % 2 === 0 ? "restored" : "recovered"));

const plural: Readonly<Record<Kind, string>> = {
  push: "pushes",
  checkpoint: "checkpoints",
  row: "rows",
  edit: "edits",
};
const listed = (counts: Readonly<Record<Kind, number>>, only = kinds.filter((kind) => counts[kind] > 0)) =>
  only.length === 0 ? "nothing" : only.map((kind) => `${figure(counts[kind])} ${plural[kind]}`).join(", ");

const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;

function resumedIn(after: Resumed): string {
  const [last, ms] = Object.entries(after).reduce((latest, each) => (each[1] > latest[1] ? each : latest), ["", 0]);
  return `${seconds(Math.min(...Object.values(after)))} to ${seconds(ms)} (${last})`;
}

/** What is gone for good: edits were brought back by their clients. */
function lostIn(rounds: readonly RoundResult[], successors: (successor: Successor) => boolean): string {
  const counts = { push: 0, checkpoint: 0, row: 0, edit: 0 };
  for (const { successor, lacked } of rounds)
    if (successors(successor)) for (const kind of kinds) counts[kind] += kind === "edit" ? 0 : lacked[kind];
  return listed(counts);
}

async function failover(
  seed: number,
  successors: readonly Successor[],
  only: number | undefined,
  verbose: boolean,
): Promise<number> {
  let code = 0;
  const installed = ([18, 15] as const).filter((each) => postgresBinaries(each) !== undefined);
  const versions = installed.filter((each) => only === undefined || each === only);
  if (versions.length === 0) throw new Error("no such Postgres is installed");
  for (const version of versions) {
    print(`Postgres ${version}`);
    let number = 0;
    const { rounds, wrong, log } = await runFailover({
      version,
      successors,
      seed,
      nodes: 2,
      clients: 4,
      calmMs: 1_500,
      onRound: ({ successor, vanishes, had, lacked, resumedMs }) => {
        number += 1;
        print(
          `  ${String(number).padStart(3)}  ${successor.padEnd(12)} ${vanishes ? "vanished" : "killed"} with ${listed(had, [...kinds])} acknowledged; lacked ${listed(lacked)}; resumed in ${resumedIn(resumedMs)}`,
        );
      },
    });
    for (const line of wrong.slice(0, maxShown)) print(`  ✗ ${line}`);
    if (wrong.length === 0)
      print(
        "  ✓ nobody was served before an epoch was begun, all copies are equal, documents are whole, and it is said what is gone",
      );
    print(`  lost with synchronous standbys: ${lostIn(rounds, (successor) => successor === "synchronous")}`);
    print(`  lost with what was behind: ${lostIn(rounds, (successor) => successor !== "synchronous")}`);
    if (wrong.length > 0) code = 1;
    if (verbose || wrong.length > 0) {
      const path = join(tmpdir(), `perch-failover-${version}-${seed}.log`);
      await writeFile(path, log);
      print(`  what the nodes logged: ${path}`);
    }
  }
  return code;
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
      failover: { type: "boolean", default: false },
      restore: { type: "boolean", default: false },
      rounds: { type: "string" },
      postgres: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const seed = values.seed === undefined ? Math.floor(Math.random() * 1_000_000) + 1 : count(values.seed, "seed");
  const seconds = count(values.seconds, "seconds");
  const { failover: promoted, restore: restored } = values;
  print(promoted || restored ? `seed ${seed}` : `seed ${seed}, ${seconds} s`);
  const version = values.postgres === undefined ? undefined : count(values.postgres, "postgres");
  if (promoted) return failover(seed, standbys(count(values.rounds ?? "20", "rounds")), version, values.verbose);
  if (restored) return failover(seed, restores(count(values.rounds ?? "10", "rounds")), version, values.verbose);
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
