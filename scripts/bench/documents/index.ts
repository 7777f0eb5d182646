import { LoroDoc } from "loro-crdt";
import { openDatabase } from "../../../src/database/open.js";
import { DocumentStore } from "../../../src/documents/store/store.js";
import { durable, startPostgresServer } from "../../../test/support/postgres-server.js";
import { openAuthor } from "../../demo/author.js";
import { figure, median, quantile } from "../../support/figures.js";
import { perchProcess } from "../../support/perch-process.js";
import type { Benchmark, BenchmarkOptions } from "../benchmark.js";
import { appends, snapshotUpserts, typed } from "../log-bytes.js";
import { type Race, race } from "../race.js";
import { opening, shelf } from "./cold.js";
import { note, paper, prepare, roomOf, store, writer } from "./content.js";
import { bytesToReader, openPair, type Replay, replayRecorded, replayTyped, typing } from "./gateway.js";
import { patching, wholeDocuments } from "./patches.js";

const strokesPerSecond = 5;
/** Edits a second over the many documents: several times what is asked for, to have enough of them to tell a p99. */
const editsPerSecond = 40;

/**
 * Documents on Postgres 18 that waits for the disk, with perch as a process of its own where clients are involved. What runs in turns
 * is given as the median of the rounds' ratios. The long document is `automerge-paper` where PERCH_TRACES names the recordings, else a
 * generated session of as many edits.
 */
async function run(options: BenchmarkOptions): Promise<void> {
  const { rounds, seconds, print } = options;
  process.setMaxListeners(0);
  const postgres = await startPostgresServer({
    version: 18,
    settings: {
      ...durable,
      // The page images that follow a checkpoint would be in whichever figure it falls into.
      checkpoint_timeout: "1h",
      max_wal_size: "8GB",
    },
  });
  const rows: string[][] = [["", "perch", "other", "ratio", "at least"]];
  const row = (name: string, ours: string, theirs: string, ratio: number, atLeast: string) => {
    rows.push([name, ours, theirs, figure(ratio), atLeast]);
    print(rows.at(-1)?.join("   ") ?? "");
  };
  const rates = (name: string, { ours, theirs, ratio }: Race, atLeast: number) =>
    row(name, figure(ours, "/s"), figure(theirs, "/s"), ratio, String(atLeast));
  const perch = await perchProcess({ env: { DATABASE_URL: postgres.url() } });
  const db = await openDatabase({ url: postgres.url(), prepare: true });
  const documents = new DocumentStore();
  try {
    await perch.start();
    await prepare(db);
    await db.transaction((tx) => tx.script(wholeDocuments));
    const long = paper();
    const size = figure(long.snapshot.byteLength / 1000, "kB");
    print(`The long document: ${figure(long.edits)} edits, a snapshot of ${size}.\n`);
    const copyOfLong = () => LoroDoc.fromSnapshot(long.snapshot);

    const patches = async () => {
      for (const [name, doc, atLeast] of [
        ["1 kB", note(1_000), 1.5],
        [`${size}, the long document`, copyOfLong(), 10],
        ["250 kB, letters at random places", note(250_000), 10],
      ] as const) {
        const work = await patching(db, `patched ${name}`, doc);
        rates(
          `applyPatch of a string / snapshot upsert, ${name}`,
          await race(options, work.perch, work.snapshots),
          atLeast,
        );
        await work.close();
      }
    };
    if (options.onlyPatches) {
      await perch.stop();
      await patches();
      return;
    }

    await store(db, documents, "long", long.doc);

    const author = await openAuthor({ url: perch.url, roomId: roomOf("long"), token: writer, field: "body" });
    await author.room.waitForReachingServerVersion();
    const whole = await typed(db, author, strokesPerSecond, Math.max(15, seconds * 4));
    author.leave();

    const pair = await openPair(perch.url, "long");
    const received = await bytesToReader(pair, 300);
    row(
      "bytes to a reader per keystroke / snapshot",
      figure(received, "B"),
      size,
      long.snapshot.length / received,
      "500",
    );
    await store(db, documents, "short", paper(260).doc);
    const shortPair = await openPair(perch.url, "short");
    rates("keystroke, long document / 260 edits", await race(options, typing(pair), typing(shortPair)), 0.8);
    pair.leave();
    shortPair.leave();

    const replayed = (name: string, replays: readonly Replay[], atLeast: number | undefined) =>
      row(
        `replay ${name} / import in memory`,
        figure(median(replays.map(({ gateway }) => gateway)), "/s"),
        figure(median(replays.map(({ memory }) => memory)), "/s"),
        median(replays.map(({ gateway, memory }) => gateway / memory)),
        String(atLeast ?? ""),
      );
    replayed("of the recorded updates", await replayRecorded(perch.url, "recorded", long.updates, 20_000), 0.25);
    replayed("by the official client, which makes them", await replayTyped(perch.url, "replayed", 20_000), undefined);
    await perch.stop();

    const logSeq = await store(db, documents, "logged", long.doc);
    const alone = await appends(db, "logged", copyOfLong(), logSeq, 500);
    const upsert = await snapshotUpserts(db, copyOfLong(), 10);
    row("WAL per keystroke / snapshot upsert", figure(alone, "B"), figure(upsert, "B"), upsert / alone, "200, ≤ 1 kB");
    const withAll = `WAL per keystroke with projection and log, ${strokesPerSecond} a second`;
    row(withAll, figure(whole, "B"), figure(upsert, "B"), upsert / whole, "≤ 5 kB");

    await patches();

    const coldSeq = await store(db, documents, "cold", long.doc);
    const cold = await opening(db, "cold", copyOfLong(), coldSeq, 1_000, rounds);
    row(
      "opening it cold, tail of 1,000 / snapshot alone",
      figure(cold.perch, "ms"),
      figure(cold.snapshot, "ms"),
      cold.ratio,
      "0.5",
    );
    print(
      `  given ${figure(cold.bytes / 1000, "kB")}; the first edit is acknowledged after ${figure(cold.edited, "ms")}, from opening it on\n`,
    );

    const [many, few] = [await shelf(db, "many", 10_000, 500), await shelf(db, "few", 100, 500)];
    const waits: { many: number[]; few: number[] } = { many: [], few: [] };
    for (let round = -1; round < rounds; round++) {
      for (const which of round % 2 === 0 ? (["many", "few"] as const) : (["few", "many"] as const)) {
        const measured = await (which === "many" ? many : few).edit(editsPerSecond, round < 0 ? 1 : seconds / 2);
        if (round >= 0) waits[which].push(...measured);
      }
    }
    options.distribution(`an edit among many documents, ${editsPerSecond} a second`, "ms", {
      "10,000 documents, 500 in memory": waits.many,
      "100 documents": waits.few,
    });
    const p99 = { many: quantile(waits.many, 0.99), few: quantile(waits.few, 0.99) };
    row(
      `p99 of an edit, 10,000 documents, 500 cached / 100, ${editsPerSecond} edits a second`,
      figure(p99.many, "ms"),
      figure(p99.few, "ms"),
      p99.few / p99.many,
      "0.67",
    );
    await many.close();
    await few.close();
    print("");
    options.show(rows);
  } finally {
    await documents.close();
    await db.close();
    await perch.stop();
    await postgres.close();
  }
}

export const benchmark: Benchmark = {
  summary: "documents against whole snapshots and Loro alone",
  run,
};
