import type { Cluster, FaultNode } from "./cluster.js";
import type { Random } from "./random.js";

/** What goes wrong, and is put right again before it resolves. */
export interface Fault {
  readonly name: string;
  /** How often, compared with the others. */
  readonly weight: number;
  /** Faults of one lane come one after the other; those of another may come at the same time. */
  readonly lane: "network" | "process";
  run(scene: Scene): Promise<void>;
}

export interface Scene {
  readonly cluster: Cluster;
  readonly random: Random;
  /** How long something stays wrong. */
  readonly span: { readonly least: number; readonly most: number };
  /** Closes a client for good, and opens another in its place. */
  replaceClient(random: Random): void;
}

const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
const aWhile = ({ random, span }: Scene) => pause(random.between(span.least, span.most));
const someNode = ({ cluster, random }: Scene): FaultNode => random.pick(cluster.nodes);

/** A share of the connections of a proxy, or all. */
function some(random: Random): (index: number) => boolean {
  const share = random.pick([0.2, 0.5, 1]);
  return () => random.next() < share;
}

/** The backends of one node, or of all; never the one that asks. */
const backends = `
  select pid from pg_stat_activity
   where pid <> pg_backend_pid() and usename = 'faulty' and backend_type = 'client backend' order by pid`;

export const faults: readonly Fault[] = [
  {
    name: "client sockets cut",
    weight: 4,
    lane: "network",
    async run({ cluster, random }) {
      cluster.front.cut(some(random));
    },
  },
  {
    name: "client sockets held",
    weight: 2,
    lane: "network",
    async run(scene) {
      const { cluster, random } = scene;
      cluster.front.hold(random.pick(["both", "answers"]));
      await aWhile(scene);
      if (random.next() < 0.5) cluster.front.cut(some(random));
      cluster.front.release();
    },
  },
  {
    name: "client closed for good",
    weight: 3,
    lane: "network",
    async run({ random, replaceClient }) {
      replaceClient(random);
    },
  },
  {
    name: "database connections cut",
    weight: 4,
    lane: "network",
    async run(scene) {
      someNode(scene).line.cut(some(scene.random));
    },
  },
  {
    name: "database answers held, then cut",
    weight: 3,
    lane: "network",
    // What was asked is done, and nobody hears of it.
    async run(scene) {
      const { line } = someNode(scene);
      line.hold("answers");
      await pause(scene.random.between(20, 300));
      line.cut(some(scene.random));
      line.release();
    },
  },
  {
    name: "database connections held",
    weight: 2,
    lane: "network",
    async run(scene) {
      const { line } = someNode(scene);
      line.hold(scene.random.pick(["both", "answers"]));
      await aWhile(scene);
      line.release();
    },
  },
  {
    name: "database connections terminated",
    weight: 3,
    lane: "network",
    async run({ cluster, random }) {
      const chosen = some(random);
      const found = await cluster.db.query<{ pid: number }>(backends).catch(() => []);
      for (const { pid } of found.filter((_, index) => chosen(index))) {
        await cluster.db.query("select pg_terminate_backend($1)", [pid]).catch(() => undefined);
      }
    },
  },
  {
    name: "database connection paused",
    weight: 2,
    lane: "network",
    // With whatever locks it holds.
    async run(scene) {
      const found = await scene.cluster.db.query<{ pid: number }>(backends).catch(() => []);
      if (found.length === 0) return;
      const { pid } = scene.random.pick(found);
      send(pid, "SIGSTOP");
      await aWhile(scene);
      send(pid, "SIGCONT");
    },
  },
  {
    name: "node killed",
    weight: 4,
    lane: "process",
    async run(scene) {
      const node = someNode(scene);
      node.wanted = false;
      await node.process.kill();
      await aWhile(scene);
      await node.start();
    },
  },
  {
    name: "node paused",
    weight: 3,
    lane: "process",
    async run(scene) {
      const node = someNode(scene);
      node.process.pause();
      await aWhile(scene);
      node.process.resume();
    },
  },
  {
    name: "node restarted",
    weight: 3,
    lane: "process",
    async run(scene) {
      const node = someNode(scene);
      node.wanted = false;
      await node.process.stop();
      await node.start();
    },
  },
  {
    name: "Postgres killed",
    weight: 2,
    lane: "process",
    async run(scene) {
      const { postgres } = scene.cluster;
      await postgres.kill();
      await aWhile(scene);
      await postgres.start();
    },
  },
  {
    name: "Postgres restarted",
    weight: 1,
    lane: "process",
    async run({ cluster }) {
      await cluster.postgres.stop();
      await cluster.postgres.start();
    },
  },
  {
    name: "Postgres paused",
    weight: 2,
    lane: "process",
    async run(scene) {
      const resume = await scene.cluster.postgres.pause();
      await aWhile(scene);
      resume();
    },
  },
];

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // Gone meanwhile, with its server.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
