import { describe, expect, it } from "vitest";
import type { DocumentKey } from "../../src/documents/key.js";
import { documentId } from "../../src/documents/key.js";
import type { Listener } from "../../src/notifications/hub.js";
import { decodeFrame } from "../../src/protocol/decode.js";
import { ackStatus } from "../../src/protocol/protocol.js";
import { createHandOver } from "../../src/rooms/hand-over.js";
import type { LogKind, LogState } from "../../src/rooms/log-kind.js";
import { createLogRooms } from "../../src/rooms/log-rooms.js";
import type { RoomReader } from "../../src/rooms/room.js";
import { until } from "../support/until.js";

/* A fourth kind of rooms, to show what one costs: lines of text, written one below the other. All it says for itself is this. */

interface Board {
  readonly incarnation: number;
  readonly revisions: number[];
  readonly lines: string[];
}

/** Where the boards of all nodes are stored. */
function createWall() {
  const boards = new Map<string, Board>();
  const boardOf = (key: DocumentKey) => boards.get(documentId(key)) ?? { incarnation: 0, revisions: [], lines: [] };
  const positionOf = ({ incarnation, lines, revisions }: Board) => {
    return { seq: incarnation + lines.length, revision: revisions.at(-1) ?? 0 };
  };
  /** What answers of reads wait for, the first of them first. */
  const slow: Promise<void>[] = [];
  return { boards, boardOf, positionOf, slow, failing: undefined as Error | undefined };
}

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (some: Uint8Array) => new TextDecoder().decode(some);

/** The kind: a version is how many lines are known. */
function boardKind(wall: ReturnType<typeof createWall>): LogKind<string, number> {
  const read = (key: DocumentKey, from: number): LogState<number> => {
    const board = wall.boardOf(key);
    const { lines, incarnation } = board;
    return {
      position: wall.positionOf(board),
      incarnation,
      version: lines.length,
      payloads: lines.slice(from).map(bytes),
    };
  };
  return {
    versions: {
      none: 0,
      decode: (some) => (/^\d*$/.test(text(some)) ? Number(text(some)) : undefined),
      encode: (lines) => bytes(String(lines)),
    },
    entriesOf: (updates) => (updates.some(({ length }) => length > 80) ? ackStatus.payloadTooLarge : updates.map(text)),
    payloadOf: bytes,
    updatesOf: (payloads) => payloads,
    async read(key, version) {
      const state = read(key, version);
      await wall.slow.shift();
      return state;
    },
    async readMissed(key, after) {
      const { payloads, ...state } = read(key, after.seq - wall.boardOf(key).incarnation);
      const entries = payloads.map((payload, n) => ({ seq: after.seq + n + 1, payload }));
      const leadsOn = [0, ...wall.boardOf(key).revisions].includes(after.revision);
      return { ...state, entries, leadsOn };
    },
    async append(key, { incarnation, after, revision }, entries) {
      if (wall.failing) throw wall.failing;
      const { lines, revisions, incarnation: now } = wall.boardOf(key);
      if (incarnation !== now || ![0, ...revisions].includes(after.revision))
        return entries.map(() => ({ refused: "PE410" }));
      const board = { incarnation, lines: [...lines], revisions: [...revisions, revision] };
      wall.boards.set(documentId(key), board);
      return entries.map(({ entry, author }) => {
        if (author.userId === "eve") return { refused: "PE403" };
        return { seq: incarnation + board.lines.push(entry) };
      });
    },
    positions: async (keys) => keys.map((key) => wall.positionOf(wall.boardOf(key))),
    heard: (one) => (one.channel === "perch_documents" ? one : undefined),
  };
}

/* From here on it is what any kind is tested for. */

const key: DocumentKey = { spaceId: "team", appId: "app", tableName: "boards", recordId: "1" };

function startNode(wall: ReturnType<typeof createWall>) {
  const listeners = new Set<Listener>();
  const faults: unknown[] = [];
  let forbidden = 0;
  let committed = 0;
  const rooms = createLogRooms(boardKind(wall), {
    notifications: {
      add(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    log: { warn: () => undefined },
    onFault: (error) => faults.push(error),
    onForbidden: () => (forbidden += 1),
    onCommitted: (entries) => (committed += entries),
  });
  const notify = (seq: number) => {
    for (const listener of listeners) listener.notified?.({ channel: "perch_documents", key, seq });
  };
  async function join(userId: string, version = "") {
    const seen: string[] = [];
    const said: string[] = [];
    const head = Buffer.from("%BRD\x01r", "latin1");
    const send = (frame: Buffer) => {
      const decoded = decodeFrame(frame);
      if (decoded?.kind === "update") seen.push(...decoded.updates.map(text));
    };
    const outlet = { send, sendPaced: async () => undefined, isFull: () => false, onDrained: () => undefined };
    const none = () => undefined;
    const handOver = createHandOver(outlet, 1_000, { overflow: none, caughtUp: none, hold: none });
    const reader: RoomReader = {
      head,
      roomKey: head.toString("latin1"),
      deliver: handOver.deliver,
      offer: handOver.offer,
      end: (reason) => said.push(`ended: ${reason}`),
      rejoin: (reason) => said.push(`rejoin: ${reason}`),
      refused: none,
      hold: (bytes) => (held += bytes),
    };
    let held = 0;
    const identity = { userId, expiresAt: Number.POSITIVE_INFINITY };
    const channel = await rooms.open({ key, identity, access: "write", version: bytes(version), reader });
    seen.push(...channel.backfill.map(text));
    await handOver.begin([], channel.position);
    const write = async (line: string) => channel.submit([new Uint8Array(bytes(line)) as Uint8Array<ArrayBuffer>]);
    const writeAll = async (all: readonly string[]) =>
      channel.submit(all.map((line) => new Uint8Array(bytes(line)) as Uint8Array<ArrayBuffer>));
    return { seen, said, write, writeAll, held: () => held, leave: channel.close, version: text(channel.version) };
  }
  return { join, notify, faults, forbidden: () => forbidden, committed: () => committed, close: rooms.close };
}

describe("a room of a fourth kind", () => {
  it("passes on what is written, to those who are there and to those who come", async () => {
    const node = startNode(createWall());
    const [ada, bob] = [await node.join("ada"), await node.join("bob")];
    expect(await Promise.all(["one", "two", "three"].map(ada.write))).toEqual([0, 0, 0]);
    expect([ada.seen, bob.seen]).toEqual([[], ["one", "two", "three"]]);
    const late = await node.join("cleo", "1");
    expect([late.seen, late.version]).toEqual([["two", "three"], "3"]);
    expect(await bob.write("four")).toBe(0);
    expect([ada.seen, late.seen.at(-1)]).toEqual([["four"], "four"]);
    await node.close();
  });

  it("refuses what its kind refuses, and a version that is none", async () => {
    const node = startNode(createWall());
    const [ada, eve] = [await node.join("ada"), await node.join("eve")];
    expect(await ada.write("x".repeat(81))).toBe(ackStatus.payloadTooLarge);
    expect(await eve.write("mine")).toBe(ackStatus.permissionDenied);
    expect(node.forbidden()).toBe(1);
    await ada.write("yours");
    await expect(node.join("bob", "none")).rejects.toMatchObject({ extra: { receiverVersion: bytes("1") } });
    await node.close();
  });

  it("counts as committed what was stored, and nothing of what was refused or failed", async () => {
    const wall = createWall();
    const node = startNode(wall);
    const [ada, eve] = [await node.join("ada"), await node.join("eve")];
    await Promise.all([eve.write("refused"), ada.write("stored"), eve.write("refused, too")]);
    expect(node.committed()).toBe(1);
    await ada.write("x".repeat(81));
    wall.failing = new Error("the wall is away");
    await ada.write("lost");
    wall.failing = undefined;
    wall.boards.set(documentId(key), { incarnation: 2, lines: [], revisions: [] });
    expect(await ada.write("of a board that is gone")).toBe(ackStatus.invalidUpdate);
    expect(node.committed()).toBe(1);
    await node.close();
  });

  it("lets authors take turns: who has a line waits for one transaction of others, however much these sent", async () => {
    const wall = createWall();
    const node = startNode(wall);
    const [ada, bob, cleo] = [await node.join("ada"), await node.join("bob"), await node.join("cleo")];
    const many = Array.from({ length: 10 }, (_, n) => Array.from({ length: 300 }, (_, m) => `bob ${n * 300 + m}`));
    const written = many.map(bob.writeAll);
    expect(await Promise.all([ada.write("ada"), cleo.write("cleo")])).toEqual([0, 0]);
    const { lines, revisions } = wall.boardOf(key);
    expect(revisions.length).toBeLessThan(4);
    expect(await Promise.all(written)).toEqual(many.map(() => 0));
    const all = wall.boardOf(key).lines;
    expect(lines.length).toBeLessThan(800);
    expect(all.filter((line) => line.startsWith("bob"))).toEqual(many.flat());
    expect([ada.seen, cleo.seen]).toEqual([
      all.filter((line) => line !== "ada"),
      all.filter((line) => line !== "cleo"),
    ]);
    await node.close();
  });

  it("has what waits counted for whoever sent it, until it is answered", async () => {
    const wall = createWall();
    const node = startNode(wall);
    const bob = await node.join("bob");
    const written = bob.writeAll(Array.from({ length: 300 }, (_, n) => String(n)));
    expect(bob.held()).toBeGreaterThanOrEqual(300 * 300);
    await written;
    expect(bob.held()).toBe(0);
    wall.failing = new Error("the wall is away");
    expect(await bob.writeAll(Array.from({ length: 300 }, (_, n) => String(n)))).toBe(ackStatus.unknown);
    expect(bob.held()).toBe(0);
    await node.close();
  });

  it("learns what other nodes take by a notification, in order and once, while both write", async () => {
    const wall = createWall();
    const [one, two] = [startNode(wall), startNode(wall)];
    const [ada, bob] = [await one.join("ada"), await two.join("bob")];
    await Promise.all([ada.write("a1"), bob.write("b1"), ada.write("a2"), bob.write("b2")]);
    for (const node of [one, two]) node.notify(4);
    await until(() => ada.seen.length === 2 && bob.seen.length === 2);
    expect([ada.seen, bob.seen]).toEqual([
      ["b1", "b2"],
      ["a1", "a2"],
    ]);
    for (const node of [one, two]) await node.close();
  });

  it("lets nobody who comes first miss what came between their reading and the next one's", async () => {
    const wall = createWall();
    const [one, two] = [startNode(wall), startNode(wall)];
    const writer = await two.join("cleo");
    let answer = () => {};
    wall.slow.push(
      new Promise((done) => {
        answer = done;
      }),
    );
    const first = one.join("ada");
    await writer.write("between");
    const second = one.join("bob");
    await new Promise((done) => setTimeout(done, 5));
    answer();
    const [ada, bob] = [await first, await second];
    one.notify(1);
    await until(() => ada.seen.length > 0 && bob.seen.length > 0);
    expect([ada.seen, bob.seen]).toEqual([["between"], ["between"]]);
    for (const node of [one, two]) await node.close();
  });

  it("answers what could not be stored with 01, and goes on", async () => {
    const wall = createWall();
    const node = startNode(wall);
    const [ada, bob] = [await node.join("ada"), await node.join("bob")];
    wall.failing = new Error("the wall is away");
    expect(await ada.write("lost")).toBe(ackStatus.unknown);
    expect(node.faults).toEqual([wall.failing]);
    wall.failing = undefined;
    expect(await ada.write("kept")).toBe(0);
    expect(bob.seen).toEqual(["kept"]);
    await node.close();
  });

  it("is over when its board is deleted, or went back: readers leave, or join again", async () => {
    const wall = createWall();
    const node = startNode(wall);
    const ada = await node.join("ada");
    await ada.write("one");
    wall.boards.set(documentId(key), { incarnation: 2, lines: [], revisions: [] });
    node.notify(2);
    await until(() => ada.said.length === 1);
    expect(ada.said).toEqual(["ended: the document was deleted"]);
    ada.leave();
    const bob = await node.join("bob");
    expect(await bob.write("two")).toBe(0);
    wall.boards.set(documentId(key), { incarnation: 2, lines: ["another"], revisions: [99] });
    expect(await bob.write("three")).toBe(ackStatus.invalidUpdate);
    expect(bob.said).toEqual(["rejoin: the database went back to an earlier state of the document: join again"]);
    await node.close();
  });
});
