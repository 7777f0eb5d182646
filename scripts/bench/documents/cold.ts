import { LoroDoc } from "loro-crdt";
import type { Database } from "../../../src/database/types.js";
import { createLiveDocuments } from "../../../src/documents/live.js";
import { createDocumentEngine, type DocumentEngine } from "../../../src/documents/loro/engine.js";
import { seededRandom } from "../../../test/support/traces.js";
import { median } from "../../support/figures.js";
import { appends } from "../log-bytes.js";
import { appId, keyOf, spaceId, tableName, writer } from "./content.js";

/** Median milliseconds, and how the two compare in a round. */
export interface Opening {
  /** Until a client that has nothing is given the document. */
  readonly perch: number;
  /** To select the snapshot alone and make a document of it. */
  readonly snapshot: number;
  readonly ratio: number;
  /** Until the first edit of a client that has just been given the document is acknowledged, the giving included. */
  readonly edited: number;
  /** What the client is sent. */
  readonly bytes: number;
}

/** Opens a document of which nothing is in memory, with a tail of so many updates. */
export async function opening(
  db: Database,
  recordId: string,
  doc: LoroDoc,
  seq: number,
  tail: number,
  rounds: number,
): Promise<Opening> {
  await appends(db, recordId, doc, seq, tail - 20);
  const engine = createDocumentEngine({ threads: 1 });
  await engine.call("", "has", [""]);
  const client = () => openAndJoin(db, engine, recordId);
  const timed = async (work: () => Promise<void>): Promise<number> => {
    const started = performance.now();
    await work();
    return performance.now() - started;
  };
  const runs: { perch: number; snapshot: number }[] = [];
  let bytes = 0;
  for (let round = -1; round < rounds; round++) {
    let joined: OpenedCold | undefined;
    const ours = () =>
      timed(async () => {
        joined = await client();
      });
    const theirs = () => timed(() => selectSnapshot(db, recordId));
    // Whoever comes second finds processors and connections awake.
    const first = round % 2 === 0 ? await ours() : await theirs();
    const second = round % 2 === 0 ? await theirs() : await ours();
    const [perch, snapshot] = round % 2 === 0 ? [first, second] : [second, first];
    if (!joined) throw new Error("the document was not opened");
    bytes = checkContent(joined.updates, doc);
    await joined.close();
    // The first warms both up.
    if (round >= 0) runs.push({ perch, snapshot });
  }
  const edits: number[] = [];
  for (let round = -1; round < rounds; round++) {
    let joined: OpenedCold | undefined;
    const waited = await timed(async () => {
      joined = await client();
      await joined.edit();
    });
    await joined?.close();
    if (round >= 0) edits.push(waited);
  }
  await engine.close();
  return {
    perch: median(runs.map((run) => run.perch)),
    snapshot: median(runs.map((run) => run.snapshot)),
    ratio: median(runs.map((run) => run.snapshot / run.perch)),
    edited: median(edits),
    bytes,
  };
}

async function selectSnapshot(db: Database, recordId: string): Promise<void> {
  const [row] = await db.query<{ snapshot: Uint8Array }>(
    "select snapshot from perch.document_snapshots where space_id = $1 and app_id = $2 and table_name = $3 and record_id = $4",
    [spaceId, appId, tableName, recordId],
  );
  LoroDoc.fromSnapshot(row?.snapshot ?? new Uint8Array()).free();
}

interface OpenedCold {
  readonly updates: readonly Uint8Array[];
  edit(): Promise<void>;
  close(): Promise<void>;
}

/** A client that has nothing, at a node that has nothing. */
async function openAndJoin(db: Database, engine: DocumentEngine, recordId: string): Promise<OpenedCold> {
  const live = createLiveDocuments({ db, engine });
  const open = await live.open(keyOf(recordId));
  const joined = await open.join(new Uint8Array(), () => undefined);
  return {
    updates: joined.updates,
    async edit() {
      const edit = new LoroDoc();
      edit.getMap("fields").set("title", "An edit");
      await open.append([edit.export({ mode: "update" })], { userId: writer }, undefined);
      edit.free();
    },
    async close() {
      joined.leave();
      open.release();
      await live.close();
    },
  };
}

/** Out: the bytes given, which have to make the document. */
function checkContent(updates: readonly Uint8Array[], doc: LoroDoc): number {
  const got = new LoroDoc();
  got.importBatch([...updates]);
  const same = got.getText("body").toString() === doc.getText("body").toString();
  got.free();
  if (!same) throw new Error("the client was given another document");
  return updates.reduce((sum, update) => sum + update.byteLength, 0);
}

/** Edits over many documents that a node holds open, with room for some of them in memory. Out: the waiting times in ms. */
export interface Shelf {
  edit(perSecond: number, seconds: number): Promise<number[]>;
  close(): Promise<void>;
}

export async function shelf(db: Database, prefix: string, documents: number, cached: number): Promise<Shelf> {
  await makeMany(db, prefix, documents);
  const engine = createDocumentEngine({ threads: 1, limits: { cachedDocuments: cached } });
  const live = createLiveDocuments({ db, engine, limits: { idleDocuments: cached } });
  const random = seededRandom(documents);

  async function edit(nth: number): Promise<number> {
    const doc = new LoroDoc();
    doc.getMap("fields").set("title", `Edit ${nth}`);
    const update = doc.export({ mode: "update" });
    doc.free();
    const started = performance.now();
    const open = await live.open(keyOf(`${prefix}-${Math.floor(random() * documents)}`));
    await open.append([update], { userId: writer }, undefined);
    const waited = performance.now() - started;
    open.release();
    return waited;
  }

  return {
    async edit(perSecond, seconds) {
      const started = performance.now();
      const edits: Promise<number>[] = [];
      for (let count = 0; count < perSecond * seconds; count++) {
        edits.push(edit(count));
        const next = started + ((count + 1) * 1000) / perSecond;
        await new Promise((done) => setTimeout(done, Math.max(0, next - performance.now())));
      }
      return Promise.all(edits);
    },
    async close() {
      await live.close();
      await engine.close();
    },
  };
}

/** Notes with a title and a few hundred letters, all by one statement each five hundred. */
async function makeMany(db: Database, prefix: string, documents: number): Promise<void> {
  const doc = new LoroDoc();
  doc.getMap("fields").set("title", "A note");
  doc.getText("body").insert(0, "So much to say. ".repeat(40));
  const update = doc.export({ mode: "update" });
  const ends = { [doc.peerIdStr]: doc.opCount() };
  await db.query(
    `with made as (
       insert into perch.documents (space_id, app_id, table_name, record_id, head_seq, merged_seq, tail_count, tail_bytes, created_by)
       select $1, $2, $3, $4 || '-' || n, 1, 1, 1, octet_length($5::bytea), $7 from generate_series(0, $8::int - 1) n
     )
     insert into perch.document_updates (space_id, app_id, table_name, record_id, seq, payload, ends, user_id)
     select $1, $2, $3, $4 || '-' || n, 1, $5::bytea, $6::jsonb, $7 from generate_series(0, $8::int - 1) n`,
    [spaceId, appId, tableName, prefix, update, JSON.stringify(ends), writer, documents],
  );
}
