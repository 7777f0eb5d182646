import { migrate } from "../../../src/database/migrate.js";
import { openDatabase } from "../../../src/database/open.js";
import { durable, startPostgresServer } from "../../../test/support/postgres-server.js";
import { figure } from "../../support/figures.js";
import type { Benchmark, BenchmarkOptions } from "../benchmark.js";
import { type Race, race, showWaits } from "../race.js";
import { storedBytes } from "./bytes.js";
import { latest, longThread, manyThreads } from "./latest.js";
import { conversation, puts, replaced } from "./puts.js";
import { openSavers } from "./savers.js";

/** The same calls of the same interface, on the same server with a server's own settings. */
async function run(options: BenchmarkOptions): Promise<void> {
  const postgres = await startPostgresServer({
    version: 18,
    settings: {
      ...durable,
      max_wal_size: "4GB",
      shared_buffers: "1GB",
    },
  });
  const createDatabase = async (name: string): Promise<string> => {
    const admin = await openDatabase(postgres.url());
    await admin.query(`create database ${name}`);
    await admin.close();
    return postgres.url(name);
  };
  const rows: string[][] = [["work", "perch", "other", "ratio", "at least"]];
  const add = (row: string[]) => {
    rows.push(row);
    options.print(row.join("  "));
  };
  const addRace = (name: string, found: Race, atLeast: string) => {
    showWaits(options, `${name} / LangGraph's saver`, found);
    add([name, figure(found.ours, "/s"), figure(found.theirs, "/s"), figure(found.ratio), atLeast]);
  };
  try {
    const url = await createDatabase("work");
    const db = await openDatabase(url);
    await migrate(db);
    await db.close();
    for (const [kind, step] of [
      ["replaced", replaced()],
      ["a message is added", conversation()],
    ] as const) {
      for (const threads of [1, 16]) {
        const savers = await openSavers(url, threads);
        const name = `put and putWrites of a 10 kB state (${kind}), ${threads} at once`;
        const work = await race(options, puts(savers.ours, threads, step), puts(savers.theirs, threads, step));
        addRace(name, work, "1.2");
        await savers.close();
      }
    }
    const savers = await openSavers(url, 1);
    const long = [await longThread(savers, 10_000)];
    await savers.db.query("vacuum analyze");
    addRace(
      "latest of 10,000 of one thread",
      await race(options, latest(savers.ours, long), latest(savers.theirs, long)),
      "1.0",
    );
    const many = await manyThreads(savers, 1_000_000);
    addRace(
      "latest of a thread among 1,000,000",
      await race(options, latest(savers.ours, many), latest(savers.theirs, many)),
      "1.0",
    );
    await savers.close();

    for (const { name, ours, theirs } of await storedBytes(createDatabase)) {
      add([`1,000 steps: ${name}`, figure(ours / 1e6, "MB"), figure(theirs / 1e6, "MB"), figure(theirs / ours), "1.0"]);
    }
    options.print("");
    options.show(rows);
  } finally {
    await postgres.close();
  }
}

export const benchmark: Benchmark = {
  summary: "checkpoints against LangGraph's own saver for Postgres",
  run,
};
