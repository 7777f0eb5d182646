import { figure, median, quantile } from "../../support/figures.js";
import type { BenchmarkOptions } from "../benchmark.js";
import { type Clients, startClients } from "./clients.js";
import type { TypingRun } from "./clients-process.js";
import { inRounds, pairedRatio, verdict } from "./rounds.js";
import type { Servers } from "./servers.js";

interface Run {
  editsPerSecond: number;
  p50: number;
  p99: number;
}

const contenders = ["perch", "reference", "hocuspocus", "relay", "inner"] as const;
type Contender = (typeof contenders)[number];

const summed = ({ waits, elapsedMs }: TypingRun): Run => ({
  editsPerSecond: (waits.length * 1000) / elapsedMs,
  p50: quantile(waits, 0.5),
  p99: quantile(waits, 0.99),
});

/** Warming up takes some ten thousand edits, until the code of a server has been compiled for good. */
const warmUpSeconds = 12;

/** Keystroke to the other client: each writer types when its reader has the letter before; in ten documents, and in one. */
export async function measureTyping(servers: Servers, options: BenchmarkOptions): Promise<string[]> {
  const clients: Record<Contender, Clients> = {
    perch: startClients("loro", servers.perch),
    reference: startClients("loro", servers.reference),
    hocuspocus: startClients("yjs", servers.hocuspocus),
    relay: startClients("loro", servers.relay),
    inner: startClients("loro", undefined),
  };
  try {
    return [
      ...(await typeIn(10, clients, options, warmUpSeconds)),
      ...(await typeIn(1, clients, options, options.seconds)),
    ];
  } finally {
    for (const name of contenders) clients[name].stop();
  }
}

async function typeIn(
  documents: number,
  clients: Record<Contender, Clients>,
  { rounds, seconds, print, show, distribution }: BenchmarkOptions,
  warmUp: number,
): Promise<string[]> {
  const waits: Partial<Record<Contender, readonly number[]>> = {};
  const runs = await inRounds(rounds, contenders, async (name: Contender, round) => {
    // Documents are new in every round.
    const rooms = Array.from({ length: documents }, (_, index) => `/bench/notes/${documents}-${round}-${index}`);
    const run = await clients[name].type({ rooms, seconds: round === 0 ? warmUp : seconds });
    waits[name] = run.waits;
    return summed(run);
  });
  const row = (title: string, key: keyof Run, unit: string) => [
    title,
    ...contenders.map((name) => figure(median(runs[name].map((run) => run[key])), unit)),
  ];
  const heading = documents === 1 ? "1 document" : `${documents} documents`;
  show([
    [heading, "perch", "reference", "hocuspocus", "relay", "relay, in the clients' process"],
    row("edits/s", "editsPerSecond", ""),
    row("p50, keystroke to reader", "p50", "ms"),
    row("p99, keystroke to reader", "p99", "ms"),
  ]);
  print("");
  distribution(`${heading}, keystroke to reader, the last round`, "ms", waits);
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
