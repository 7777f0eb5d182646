import { LoroDoc } from "loro-crdt";
import { WebSocket } from "ws";
import { figure, median } from "../../support/figures.js";
import type { BenchmarkOptions } from "../benchmark.js";
import { openRawRoom } from "./raw-room.js";
import { inRounds, pairedRatio, verdict } from "./rounds.js";
import type { Servers } from "./servers.js";

const readers = 200;
/** How far the writer may be ahead of its slowest reader. */
const ahead = 16;

/** Sockets that count what comes, and a writer; it types when everybody has what it typed `ahead` strokes before. */
interface Audience {
  deliveriesFor(seconds: number): Promise<number>;
  close(): void;
}

async function audience(open: (received: () => void) => Promise<{ close(): void }>, type: () => void) {
  const counts = new Uint32Array(readers);
  let delivered = 0;
  let strokes = 0;
  let until = 0;
  let done: () => void = () => undefined;
  /** How many readers have each stroke that not all of them have. */
  const reached = new Map<number, number>();

  function received(reader: number): void {
    delivered++;
    const stroke = (counts[reader] ?? 0) + 1;
    counts[reader] = stroke;
    const have = (reached.get(stroke) ?? 0) + 1;
    if (have < readers) {
      reached.set(stroke, have);
      return;
    }
    reached.delete(stroke);
    if (performance.now() < until) next();
    else if (stroke === strokes) done();
  }
  function next(): void {
    strokes++;
    type();
  }

  const sockets = await Promise.all(Array.from({ length: readers }, (_, reader) => open(() => received(reader))));
  const result: Audience = {
    async deliveriesFor(seconds) {
      const before = delivered;
      const started = performance.now();
      until = started + seconds * 1000;
      await new Promise<void>((resolve) => {
        done = resolve;
        for (let stroke = 0; stroke < ahead; stroke++) next();
      });
      return (delivered - before) / ((performance.now() - started) / 1000);
    },
    close() {
      for (const socket of sockets) socket.close();
    },
  };
  return result;
}

async function perchAudience(url: string): Promise<Audience> {
  const roomId = "/bench/notes/audience";
  const doc = new LoroDoc();
  const body = doc.getText("body");
  const writer = await openRawRoom(url, roomId);
  const type = () => {
    const from = doc.oplogVersion();
    body.insert(body.length, "x");
    doc.commit();
    void writer.send(doc.export({ mode: "update", from }));
  };
  const opened = await audience(async (received) => {
    const room = await openRawRoom(url, roomId);
    // Nothing but updates comes from here on: counting frames is all that a reader does, here as there.
    room.socket.removeAllListeners("message");
    room.socket.on("message", received);
    return room;
  }, type);
  return { ...opened, close: () => [opened, writer].map((each) => each.close()) };
}

/** The frame of a keystroke is about so long. */
const frameBytes = 150;

async function bareAudience(url: string): Promise<Audience> {
  const open = async () => {
    const socket = new WebSocket(url, { perMessageDeflate: false });
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return socket;
  };
  const writer = await open();
  const opened = await audience(
    async (received) => {
      const socket = await open();
      socket.on("message", received);
      return { close: () => socket.terminate() };
    },
    () => writer.send(Buffer.alloc(frameBytes)),
  );
  return {
    ...opened,
    close() {
      opened.close();
      writer.terminate();
    },
  };
}

/** One writer and many readers: what reaches readers in a second, against a bare broadcast. */
export async function measureReaders(servers: Servers, { rounds, seconds, print, show }: BenchmarkOptions) {
  const contenders = ["perch", "bare"] as const;
  const audiences = { perch: await perchAudience(servers.perch), bare: await bareAudience(servers.broadcast) };
  const runs = await inRounds(rounds, contenders, (name) => audiences[name].deliveriesFor(seconds));
  for (const name of contenders) audiences[name].close();
  show([
    [`1 writer, ${readers} readers`, "perch", "bare ws broadcast"],
    ["deliveries/s", figure(median(runs.perch)), figure(median(runs.bare))],
  ]);
  print("");
  return [
    verdict(`${readers} readers, deliveries/s against a bare broadcast`, pairedRatio(runs.perch, runs.bare), 0.7),
  ];
}
