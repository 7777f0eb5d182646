import { roomOf } from "../demo/document.js";
import { startAudit } from "./audit.js";
import { type Cluster, startCluster } from "./cluster.js";
import { type Editor, openEditor } from "./editor.js";
import { type Fault, faults, type Scene } from "./faults.js";
import { type Random, seeded } from "./random.js";
import { startSqlWriter } from "./sql-writer.js";
import { judge } from "./verdict.js";

export interface FaultsOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly clients: number;
  readonly documents: number;
  readonly nodes: number;
  /** Told of each fault as it begins. */
  readonly onFault?: (name: string) => void;
}

export interface FaultsResult {
  readonly edits: number;
  readonly acknowledged: number;
  /** Pushed and committed by plain SQL. */
  readonly sqlEdits: number;
  /** Batches that were refused, and healed by a new join. */
  readonly refusals: number;
  readonly clientsClosed: number;
  /** Joins answered by a node that had not yet heard of all that another had acknowledged. */
  readonly staleJoins: number;
  /** How often the database was looked into, in the middle of it, for what had been acknowledged until then. */
  readonly audits: number;
  /** Closes of client sockets, by code. */
  readonly closes: ReadonlyMap<number, number>;
  readonly faults: ReadonlyMap<string, number>;
  /** How long it took, after the last fault, until all copies were equal. */
  readonly settledMs: number;
  /** What was lost; empty, or perch is broken. */
  readonly losses: readonly string[];
  readonly differences: readonly string[];
  /** Clients that were made to give up, and nodes that ended by themselves. */
  readonly breakdowns: readonly string[];
  /** What the nodes logged. */
  readonly log: string;
}

/** Between two edits of a client. */
const editEveryMs = { least: 10, most: 90 };
/** Between two faults of a lane: time to get something acknowledged. */
const calmMs = { least: 200, most: 1_500 };
const settlesWithinMs = 60_000;

const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

/** Clients edit while everything around them breaks, over and over; then all copies are compared, and every edit is looked for. */
export async function runFaults(options: FaultsOptions): Promise<FaultsResult> {
  const { seed, seconds, clients, documents, nodes, onFault } = options;
  const random = seeded(seed);
  // A client that comes in another's place is somebody else.
  const users = Array.from({ length: clients + seconds }, (_, n) => `user${n}`);
  const cluster = await startCluster({ nodes, documents, users: [...users, "sql"] });
  const open: Editor[] = [];
  const closed: Editor[] = [];
  const breakdowns = new Set<string>();
  const counts = new Map<string, number>();
  try {
    const url = `ws://127.0.0.1:${cluster.front.port}/sync`;
    const roomIds = cluster.places.map(roomOf);
    let opened = 0;
    const openNext = (chance: Random): Editor | undefined => {
      const user = users[opened++];
      return user === undefined ? undefined : openEditor({ url, user, roomIds, random: chance });
    };
    for (let n = 0; n < clients; n++) {
      const editor = openNext(random.fork());
      if (editor !== undefined) open.push(editor);
    }
    await Promise.all(open.map(({ ready }) => ready));
    const audit = startAudit(cluster, () => [...open, ...closed]);
    const sql = startSqlWriter(cluster.db, cluster.places, "sql", random.fork());

    const end = Date.now() + seconds * 1_000;
    const scene = (chance: Random): Scene => ({
      cluster,
      random: chance,
      span: { least: 100, most: Math.min(4_000, 100 * seconds) },
      replaceClient(draw) {
        const next = openNext(draw.fork());
        if (next === undefined) return;
        const index = draw.below(open.length);
        const gone = open[index];
        open[index] = next;
        if (gone === undefined) return;
        gone.close();
        closed.push(gone);
      },
    });
    const lanes = [...new Set(faults.map(({ lane }) => lane))].map(async (lane) => {
      const chance = random.fork();
      const own = faults.filter((fault) => fault.lane === lane);
      while (Date.now() < end) {
        await pause(chance.between(calmMs.least, calmMs.most));
        if (Date.now() >= end) break;
        const fault = weighted(own, chance);
        counts.set(fault.name, (counts.get(fault.name) ?? 0) + 1);
        onFault?.(fault.name);
        await fault.run(scene(chance));
      }
    });
    const typing = Array.from({ length: clients }, async (_, index) => {
      const chance = random.fork();
      while (Date.now() < end) {
        const editor = open[index];
        await editor?.ready;
        if (Date.now() < end && editor === open[index]) editor?.edit();
        await pause(chance.between(editEveryMs.least, editEveryMs.most));
      }
    });
    const watching = watchNodes(cluster, end, breakdowns);
    await Promise.all([...lanes, ...typing, watching]);
    await Promise.all([sql.stop(), audit.stop()]);
    await Promise.all(open.map(({ ready }) => ready));

    const begun = Date.now();
    const { losses, differences } = await judge({ cluster, open, closed, sql }, settlesWithinMs);
    const settledMs = Date.now() - begun;
    const all = [...open, ...closed];
    for (const { gaveUp } of all) for (const who of gaveUp) breakdowns.add(`${who} gave up`);
    const sheets = all.flatMap((editor) => editor.sheets);
    return {
      edits: sheets.reduce((sum, { edits }) => sum + edits.length, 0),
      acknowledged: sheets.reduce(
        (sum, { edits, acknowledged }) => sum + edits.filter((edit) => edit.end <= acknowledged).length,
        0,
      ),
      sqlEdits: [...sql.committed.values()].reduce((sum, names) => sum + names.length, 0),
      refusals: sheets.reduce((sum, { refusals }) => sum + refusals, 0),
      clientsClosed: closed.length,
      closes: summed(all.map(({ closes }) => closes)),
      faults: counts,
      settledMs,
      staleJoins: all.reduce((sum, { staleJoins }) => sum + staleJoins, 0),
      audits: audit.looks,
      losses: [...audit.losses, ...losses],
      differences,
      breakdowns: [...breakdowns],
      log: cluster.nodes.map((node, index) => `node ${index + 1}\n${node.process.output}`).join("\n"),
    };
  } finally {
    for (const editor of open) editor.close();
    await cluster.close();
  }
}

function weighted(among: readonly Fault[], chance: Random): Fault {
  let left = chance.next() * among.reduce((sum, { weight }) => sum + weight, 0);
  for (const fault of among) {
    left -= fault.weight;
    if (left < 0) return fault;
  }
  return chance.pick(among);
}

/** A node ends only when it is told to. */
async function watchNodes({ nodes }: Cluster, end: number, breakdowns: Set<string>): Promise<void> {
  while (Date.now() < end) {
    for (const [index, node] of nodes.entries()) {
      if (!node.wanted || !node.process.ended) continue;
      breakdowns.add(`node ${index + 1} ended by itself`);
      await node.start();
    }
    await pause(50);
  }
}

function summed(maps: readonly ReadonlyMap<number, number>[]): Map<number, number> {
  const sum = new Map<number, number>();
  for (const map of maps) for (const [key, count] of map) sum.set(key, (sum.get(key) ?? 0) + count);
  return sum;
}
