import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { pino } from "pino";
import { beforeAll, expect, it } from "vitest";
import { freePort } from "../../scripts/support/free-port.js";
import { startWorker } from "../../src/worker/index.js";
import { cleanup, declareNotes, type Node, officialClient, startNode, text, typed, until } from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";

const open = postgres();
let database: TestDatabase;
beforeAll(async () => {
  database = await open();
  await declareNotes(database);
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The same sequence for the same seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

it("two nodes, six typists, cut sockets and restarted nodes: at the end all agree and nothing typed is missing", async () => {
  const chance = random(Number(process.env.PERCH_SEED ?? 20_261_121));
  const log = pino({ level: process.env.LOG_LEVEL ?? "silent" });
  const documents = ["/app/notes/k1", "/app/notes/k2"];

  /** A node that is started again on its port whenever it was stopped. */
  async function station() {
    let node: Node;
    let worker: { close(): Promise<void> };
    const start = async (on: number) => {
      node = await startNode(database, { env: { PERCH_PORT: String(on) } });
      worker = await startWorker({ db: database.db, live: node.live, log });
    };
    const stop = async () => {
      await Promise.all([node.gateway.close(), worker.close()]);
      await node.stop();
    };
    // Not one that the system gives to whoever connects while nobody listens there.
    await start(await freePort());
    cleanup(() => stop());
    return {
      url: () => node.url,
      async restart() {
        const { port: same } = node.gateway;
        await stop();
        await start(same);
      },
    };
  }

  const stations = [await station(), await station()];
  const typists = await Promise.all(
    Array.from({ length: 6 }, async (_, n) => {
      const roomId = documents[n % documents.length] ?? "";
      const doc = new LoroDoc();
      const client = officialClient({ url: stations[n % 3 === 0 ? 0 : 1]?.url() ?? "" });
      const statuses: string[] = [];
      await client.join({
        roomId,
        crdtAdaptor: new LoroAdaptor(doc),
        auth: text("ada"),
        onStatusChange: (status) => statuses.push(status),
      });
      return { n, roomId, doc, client, statuses, words: [] as string[] };
    }),
  );

  const deadline = Date.now() + 8_000;
  const typing = typists.map(async (typist) => {
    for (let count = 0; Date.now() < deadline; count++) {
      const word = `<${typist.n}.${count}>`;
      typed(typist.doc, word);
      typist.words.push(word);
      await pause(5 + chance() * 60);
    }
  });
  const cutting = (async () => {
    while (Date.now() < deadline) {
      const victim = typists[Math.floor(chance() * typists.length)];
      (victim?.client.socket as unknown as { terminate(): void } | undefined)?.terminate();
      await pause(200 + chance() * 500);
    }
  })();
  const restarting = (async () => {
    for (let n = 0; Date.now() < deadline - 2_000; n++) {
      await pause(2_500);
      await stations[n % 2]?.restart();
    }
  })();
  await Promise.all([...typing, cutting, restarting]);

  const body = (doc: LoroDoc) => doc.getText("body").toString();
  for (const roomId of documents) {
    const here = typists.filter((typist) => typist.roomId === roomId);
    const length = here.reduce((sum, { words }) => sum + words.join("").length, 0);
    await until(() => here.every(({ doc }) => body(doc).length === length && body(doc) === body(here[0]?.doc ?? doc)));
    for (const word of here.flatMap(({ words }) => words)) expect(body(here[0]?.doc ?? new LoroDoc())).toContain(word);
    await until(async () => {
      const [record] = await database.asUser("ada", (tx) =>
        tx.query<{ body: string }>("select data ->> 'body' as body from perch.records where record_id = $1", [
          roomId.split("/")[3],
        ]),
      );
      return record?.body === body(here[0]?.doc ?? new LoroDoc());
    });
  }
  expect(typists.flatMap(({ statuses }) => statuses)).not.toContain("error");
});
