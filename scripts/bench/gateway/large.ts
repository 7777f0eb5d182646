import { randomBytes } from "node:crypto";
import { LoroDoc } from "loro-crdt";
import { WebSocket } from "ws";
import { seededRandom } from "../../../test/support/traces.js";
import { figure, median } from "../../support/figures.js";
import type { BenchmarkOptions } from "../benchmark.js";
import { openRawRoom, type RawRoom } from "./raw-room.js";
import { inRounds, pairedRatio, verdict } from "./rounds.js";
import type { Servers } from "./servers.js";

/** Letters in a piece of a large document, and in what its author sends at once. */
const pieceLetters = 10_000;
const batchLetters = 1_000_000;

interface Written {
  readonly doc: LoroDoc;
  readonly updates: readonly Uint8Array[];
}

/**
 * A document of so many letters, none of which can be compressed away, written piece by piece: each at the end, or each somewhere in
 * what is there already, as documents are that people work on.
 */
function largeDocument(letters: number, where: "at the end" | "anywhere"): Written {
  const doc = new LoroDoc();
  const body = doc.getText("body");
  const random = seededRandom(9);
  const updates: Uint8Array[] = [];
  while (body.length < letters) {
    const from = doc.oplogVersion();
    for (const until = body.length + batchLetters; body.length < until; ) {
      const at = where === "at the end" ? body.length : Math.floor(random() * (body.length + 1));
      body.insert(at, randomBytes((pieceLetters * 3) / 4).toString("base64"));
      doc.commit();
    }
    updates.push(doc.export({ mode: "update", from }));
  }
  return { doc, updates };
}

/** Writes the whole history of a document into a room, as its author would. */
async function fill(url: string, roomId: string, { updates }: Written): Promise<RawRoom> {
  const room = await openRawRoom(url, roomId);
  for (const update of updates) await room.send(update);
  return room;
}

function stroke(doc: LoroDoc): Uint8Array {
  const from = doc.oplogVersion();
  const body = doc.getText("body");
  body.insert(body.length, "x");
  doc.commit();
  return doc.export({ mode: "update", from });
}

const contenders = ["perch", "reference"] as const;
const places = ["anywhere", "at the end"] as const;

/** How long a keystroke in a document of 3 MB takes to be acknowledged. */
export async function measureLargeKeystroke(
  servers: Servers,
  { rounds, print, show }: BenchmarkOptions,
): Promise<string[]> {
  const ratios: number[] = [];
  const rows: string[][] = [["a keystroke in 3 MB acknowledged", "perch", "reference", "perch is faster by"]];
  for (const [index, where] of places.entries()) {
    const roomId = `/bench/notes/large-${index}`;
    const written = largeDocument(3_000_000, where);
    const rooms = {
      perch: await fill(servers.perch, roomId, written),
      reference: await fill(servers.reference, roomId, written),
    };
    const copies = { perch: written.doc.fork(), reference: written.doc.fork() };
    const runs = await inRounds(rounds, contenders, async (name) => {
      const times: number[] = [];
      for (let count = 0; count < 5; count++) {
        const update = stroke(copies[name]);
        const started = performance.now();
        await rooms[name].send(update);
        times.push(performance.now() - started);
      }
      return median(times);
    });
    for (const name of contenders) rooms[name].close();
    const ratio = pairedRatio(runs.reference, runs.perch);
    ratios.push(ratio);
    const ms = contenders.map((name) => figure(median(runs[name]), "ms"));
    rows.push([
      where === "anywhere" ? "written here and there" : "written from beginning to end",
      ...ms,
      figure(ratio),
    ]);
  }
  show(rows);
  print("");
  return [verdict("3 MB, one keystroke, faster than reference by", ratios[0] ?? Number.NaN, 20)];
}

/** From nothing to the last byte of a document of 1 MB, against the same bytes from a bare socket. */
export async function measureLateJoin(servers: Servers, { rounds, print, show }: BenchmarkOptions): Promise<string[]> {
  const roomId = "/bench/notes/late";
  (await fill(servers.perch, roomId, largeDocument(1_000_000, "anywhere"))).close();
  let bytes = 0;
  const joins = 100;
  const runs = await inRounds(rounds, ["perch", "bare"] as const, async (name) => {
    const times: number[] = [];
    for (let count = 0; count < joins; count++) {
      const started = performance.now();
      if (name === "perch") bytes = await join(servers.perch, roomId);
      else await receive(`${servers.bytes}?bytes=${bytes || 1_000_000}`, bytes || 1_000_000);
      times.push(performance.now() - started);
    }
    return median(times);
  });
  show([
    [`${figure(bytes / 1e6, "MB")}, from connecting to the last byte`, "perch", "bare socket"],
    ["late join", figure(median(runs.perch), "ms"), figure(median(runs.bare), "ms")],
  ]);
  print("");
  return [verdict("1 MB, late join against its bytes over a bare socket", pairedRatio(runs.bare, runs.perch), 0.5)];
}

/** Out: how many bytes of document came. */
async function join(url: string, roomId: string): Promise<number> {
  let arrived: (bytes: number) => void = () => undefined;
  const complete = new Promise<number>((resolve) => {
    arrived = resolve;
  });
  const room = await openRawRoom(url, roomId, arrived);
  const bytes = await complete;
  room.close();
  return bytes;
}

async function receive(url: string, bytes: number): Promise<void> {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  let left = bytes;
  await new Promise<void>((resolve, reject) => {
    socket.on("message", (data: Buffer) => {
      left -= data.length;
      if (left === 0) resolve();
    });
    socket.once("error", reject);
  });
  socket.terminate();
}
