import { figure, median, quantile, table } from "../../support/figures.js";
import type { BenchmarkOptions } from "../benchmark.js";
import { openPair, type Pair } from "../typists.js";
import { inRounds, pairedRatio, verdict } from "./rounds.js";
import type { Servers } from "./servers.js";
import { openYjsPair } from "./yjs-typists.js";

interface Run {
  editsPerSecond: number;
  p50: number;
  p99: number;
}

const contenders = ["perch", "reference", "hocuspocus", "relay", "inner"] as const;
type Contender = (typeof contenders)[number];

/** Lets every pair type for a while, all documents at once. */
async function typeFor(seconds: number, pairs: readonly Pair[]): Promise<Run> {
  const settled = performance.now() + 300;
  await Promise.all(pairs.map((pair) => pair.type(settled)));
  const started = performance.now();
  const waits = (await Promise.all(pairs.map((pair) => pair.type(started + seconds * 1000)))).flat();
  const elapsed = (performance.now() - started) / 1000;
  return { editsPerSecond: waits.length / elapsed, p50: quantile(waits, 0.5), p99: quantile(waits, 0.99) };
}

/** Warming up takes some ten thousand edits, until the code of a server has been compiled for good. */
const warmUpSeconds = 12;

/** Keystroke to the other client: each writer types when its reader has the letter before. */
export async function measureTyping(
  servers: Servers,
  { rounds, seconds, print }: BenchmarkOptions,
  documents: number,
): Promise<string[]> {
  const runs = await inRounds(rounds, contenders, async (name: Contender, round) => {
    const open = name === "hocuspocus" ? openYjsPair : openPair;
    // Documents are new in every round.
    const rooms = Array.from({ length: documents }, (_, index) => `/bench/notes/${documents}-${round}-${index}`);
    const pairs = await Promise.all(rooms.map((room) => open(servers[name], room)));
    const run = await typeFor(round === 0 && documents > 1 ? warmUpSeconds : seconds, pairs);
    for (const pair of pairs) pair.leave();
    return run;
  });
  const row = (title: string, key: keyof Run, unit: string) => [
    title,
    ...contenders.map((name) => figure(median(runs[name].map((run) => run[key])), unit)),
  ];
  const heading = documents === 1 ? "1 document" : `${documents} documents`;
  print(
    table([
      [heading, "perch", "reference", "hocuspocus", "relay", "relay, in the clients' process"],
      row("edits/s", "editsPerSecond", ""),
      row("p50, keystroke to reader", "p50", "ms"),
      row("p99, keystroke to reader", "p99", "ms"),
    ]),
  );
  print("");
  const of = (name: Contender, key: keyof Run) => runs[name].map((run) => run[key]);
  const faster = (than: Contender, key: "p50" | "p99") => pairedRatio(of(than, key), of("perch", key));
  const hocuspocus = pairedRatio(of("perch", "editsPerSecond"), of("hocuspocus", "editsPerSecond"));
  const printed = `         ${heading}, against hocuspocus: ${hocuspocus.toFixed(2)} of its edits/s, p50 faster by ${faster("hocuspocus", "p50").toFixed(2)}, p99 by ${faster("hocuspocus", "p99").toFixed(2)}`;
  if (documents === 1)
    return [verdict("one document, p50 against reference", faster("reference", "p50"), 0.6), printed];
  const edits = pairedRatio(of("perch", "editsPerSecond"), of("reference", "editsPerSecond"));
  return [
    verdict(`${heading}, edits/s against reference`, edits, 1),
    verdict(`${heading}, p99 against reference`, faster("reference", "p99"), 1),
    printed,
  ];
}
