import fc from "fast-check";
import {
  bytesToHex,
  CrdtType,
  decode,
  encode,
  JoinErrorCode,
  MessageType,
  type ProtocolMessage,
  RoomErrorCode,
} from "loro-protocol";
import { describe, expect, it } from "vitest";
import { decodeFrame, roomIdOf, roomTypeOf } from "../../src/protocol/decode.js";
import {
  ackFrame,
  joinErrorFrame,
  joinResponseFrame,
  roomErrorFrame,
  updateFrame,
  updateFrames,
} from "../../src/protocol/encode.js";
import { maxFrameBytes, maxUpdatesOfFrame } from "../../src/protocol/protocol.js";

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");
/** "%LOR", length 9, "room-1234": how every frame of that room starts. */
const head = hex("254c4f52 09 726f6f6d2d31323334");
const hexOf = (data: Uint8Array) => Buffer.from(data).toString("hex");
const official = (message: ProtocolMessage) => Buffer.from(encode(message));
const room = { crdt: CrdtType.Loro, roomId: "room-1234" } as const;
const bytes = (max: number) => fc.uint8Array({ maxLength: max });
const batchId = fc.uint8Array({ minLength: 8, maxLength: 8 });

describe("decoding what clients send", () => {
  it("reads a join, laid out by hand from the specification", () => {
    const frame = decodeFrame(Buffer.concat([head, hex("00 03 0a141e 02 2832")]));
    expect(frame).toMatchObject({ kind: "join", auth: hex("0a141e"), version: hex("2832") });
    expect(roomIdOf(frame?.head ?? head)).toBe("room-1234");
    expect(roomTypeOf(frame?.head ?? head)).toBe("%LOR");
  });

  it("reads an update batch, its id last", () => {
    const frame = decodeFrame(Buffer.concat([head, hex("03 03 03010203 0404050607 0108 0102030405060708")]));
    expect(frame).toMatchObject({
      kind: "update",
      updates: [hex("010203"), hex("04050607"), hex("08")],
      batchId: hex("0102030405060708"),
    });
  });

  it("reads no more updates of one batch than a client has, however little each is", () => {
    const batch = (count: number) =>
      official({
        type: MessageType.DocUpdate,
        ...room,
        updates: Array(count).fill(new Uint8Array()),
        batchId: "0x0102030405060708",
      });
    expect(decodeFrame(batch(maxUpdatesOfFrame))).toMatchObject({ kind: "update" });
    expect(decodeFrame(batch(maxUpdatesOfFrame + 1))).toBeUndefined();
  });

  it("reads fragment headers and fragments", () => {
    const header = decodeFrame(Buffer.concat([head, hex("04 ff11223344556677 0a 80c03e")]));
    expect(header).toMatchObject({ kind: "fragmentHeader", fragmentCount: 10, totalBytes: 1_024_000 });
    const fragment = decodeFrame(Buffer.concat([head, hex("05 0000000000000000 03 02 abcd")]));
    expect(fragment).toMatchObject({ kind: "fragment", index: 3, bytes: hex("abcd") });
  });

  it("reads leave and acknowledgements", () => {
    expect(decodeFrame(Buffer.concat([head, hex("07")]))).toMatchObject({ kind: "leave" });
    expect(decodeFrame(Buffer.concat([head, hex("08 0102030405060708 07")]))).toMatchObject({ kind: "ack", status: 7 });
  });

  it("reads whatever the official encoder writes", () => {
    fc.assert(
      fc.property(fc.array(bytes(300), { maxLength: 20 }), batchId, bytes(200), (updates, id, auth) => {
        const update = decodeFrame(
          official({ ...room, type: MessageType.DocUpdate, updates, batchId: bytesToHex(id) }),
        );
        expect(update).toMatchObject({ kind: "update", updates: updates.map(Buffer.from), batchId: Buffer.from(id) });
        const join = decodeFrame(official({ ...room, type: MessageType.JoinRequest, auth, version: id }));
        expect(join).toMatchObject({ kind: "join", auth: Buffer.from(auth), version: Buffer.from(id) });
      }),
    );
  });

  it("gives equal rooms equal keys and different rooms different ones", () => {
    const key = (crdt: CrdtType, roomId: string) =>
      decodeFrame(official({ crdt, roomId, type: MessageType.Leave }))?.roomKey;
    expect(key("%LOR", "a/b")).toBe(key("%LOR", "a/b"));
    expect(new Set([key("%LOR", "a"), key("%EPH", "a"), key("%LOR", "ä"), key("%LOR", "")]).size).toBe(4);
  });

  it("refuses a room id of more than 128 bytes, which the official decoder lets pass", () => {
    const frame = (length: number) =>
      Buffer.concat([hex("254c4f52"), Buffer.from([(length % 128) | 128, 1]), Buffer.alloc(length, "a"), hex("07")]);
    expect(decodeFrame(frame(128))).toMatchObject({ kind: "leave" });
    expect(decodeFrame(frame(129))).toBeUndefined();
    expect(decode(frame(129))).toMatchObject({ type: MessageType.Leave });
  });

  it("never throws and never reads past the end, whatever the bytes", () => {
    const valid = [
      official({ ...room, type: MessageType.JoinRequest, auth: new Uint8Array(9), version: new Uint8Array(5) }),
      official({ ...room, type: MessageType.DocUpdate, updates: [new Uint8Array(40)], batchId: "0x0102030405060708" }),
      Buffer.concat([head, hex("04 0102030405060708 03 64")]),
      Buffer.concat([head, hex("05 0102030405060708 00 02 abcd")]),
    ];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (data) => {
        decodeFrame(Buffer.from(data));
      }),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...valid),
        fc.nat(),
        fc.integer({ min: 0, max: 255 }),
        fc.nat(),
        (data, at, byte, cut) => {
          const mutant = Buffer.from(data);
          mutant[at % mutant.length] = byte;
          decodeFrame(mutant);
          decodeFrame(mutant.subarray(0, cut % (mutant.length + 1)));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it("a count of four thousand million updates costs nothing", () => {
    const before = process.memoryUsage().heapUsed;
    for (let n = 0; n < 1_000; n++) expect(decodeFrame(Buffer.concat([head, hex("03 ffffffff0f 00")]))).toBeUndefined();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(50_000_000);
  });

  it.each([
    ["nothing", ""],
    ["a head without a type", head.toString("hex")],
    ["an unknown type", `${head.toString("hex")}09`],
    ["an update without its batch id", `${head.toString("hex")}030101ff`],
    ["bytes after a batch id", `${head.toString("hex")}0300010203040506070899`],
    ["a length that does not fit 32 bits", `${head.toString("hex")}00ffffffffff01`],
    ["a length that never ends", `${head.toString("hex")}0080808080808080808000`],
  ])("refuses %s", (_, data) => {
    expect(decodeFrame(hex(data))).toBeUndefined();
  });

  it("says when a room id is not UTF-8", () => {
    expect(roomIdOf(hex("254c4f52 02 c328"))).toBeUndefined();
  });
});

describe("encoding what servers send", () => {
  it("writes what the specification lays out", () => {
    const id = hex("0102030405060708");
    expect(ackFrame(head, id, 0x07)).toEqual(Buffer.concat([head, hex("08 0102030405060708 07")]));
    expect(joinResponseFrame(head, "read", hex("00"))).toEqual(Buffer.concat([head, hex("01 0472656164 0100 00")]));
    expect(joinErrorFrame(head, 0x02, "no")).toEqual(Buffer.concat([head, hex("02 02 026e6f")]));
    expect(roomErrorFrame(head, 0x02, "evicted")).toEqual(Buffer.concat([head, hex("06 02 0765766963746564")]));
    expect(updateFrame(head, [hex("010203"), hex("08")], id)).toEqual(
      Buffer.concat([head, hex("03 02 03010203 0108 0102030405060708")]),
    );
  });

  it("is read back by the official decoder", () => {
    expect(decode(new Uint8Array(joinResponseFrame(head, "write", hex("0102"))))).toMatchObject({
      ...room,
      type: MessageType.JoinResponseOk,
      permission: "write",
      version: new Uint8Array([1, 2]),
    });
    expect(decode(new Uint8Array(joinErrorFrame(head, 0x01, "which?", { receiverVersion: hex("00") })))).toMatchObject({
      code: JoinErrorCode.VersionUnknown,
      message: "which?",
      receiverVersion: new Uint8Array([0]),
    });
    expect(decode(joinErrorFrame(head, 0x7f, "ä".repeat(9_000), { appCode: "quota" }))).toMatchObject({
      code: JoinErrorCode.AppError,
      appCode: "quota",
    });
    expect(decode(roomErrorFrame(head, 0x01, "again"))).toMatchObject({ code: RoomErrorCode.RejoinSuggested });
  });

  /** What a client makes of the frames: each batch as the list of its updates. */
  function received(frames: Iterable<Buffer>): Uint8Array[][] {
    const batches: Uint8Array[][] = [];
    let pieces: Uint8Array[] = [];
    let expected = { fragmentCount: 0, totalSizeBytes: 0, batchId: "" };
    for (const frame of frames) {
      expect(frame.length).toBeLessThanOrEqual(maxFrameBytes);
      const message = decode(frame);
      if (message.type === MessageType.DocUpdate) batches.push(message.updates);
      if (message.type === MessageType.DocUpdateFragmentHeader) {
        expected = message;
        pieces = [];
      }
      if (message.type === MessageType.DocUpdateFragment) {
        expect(message.batchId).toBe(expected.batchId);
        expect(message.index).toBe(pieces.length);
        pieces.push(message.fragment);
        if (pieces.length < expected.fragmentCount) continue;
        const whole = Buffer.concat(pieces);
        expect(whole.length).toBe(expected.totalSizeBytes);
        batches.push([new Uint8Array(whole)]);
      }
    }
    return batches;
  }

  it("sends updates of any size within the frame limit, in order and complete", () => {
    const sizes = [10, 262_000, 5, 1_000_000, 245_760, 245_761, 262_144, 1, 100_000, 100_000, 100_000, 0, 3];
    const updates = sizes.map((size, n) => new Uint8Array(size).fill(n));
    const batches = received(updateFrames(head, updates));
    expect(batches.flat().map((update) => [update.length, update[0]])).toEqual(
      sizes.map((size, n) => [size, size ? n : undefined]),
    );
  });

  it("sends any list of small updates as few batches", () => {
    fc.assert(
      fc.property(fc.array(bytes(2_000), { minLength: 1, maxLength: 50 }), (updates) => {
        const batches = received(updateFrames(head, updates));
        expect(batches).toHaveLength(1);
        expect(batches[0]?.map(hexOf)).toEqual(updates.map(hexOf));
      }),
    );
    expect([...updateFrames(head, [])]).toEqual([]);
  });

  it("numbers its batches differently", () => {
    const ids = new Set<string>();
    for (let n = 0; n < 1_000; n++) {
      for (const frame of updateFrames(head, [hex("01")])) ids.add(frame.subarray(-8).toString("hex"));
    }
    expect(ids.size).toBe(1_000);
  });
});
