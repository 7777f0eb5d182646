import fc from "fast-check";
import { VersionVector } from "loro-crdt";
import { decodeEloContainer, encodeEloContainer, encryptDeltaSpan, encryptSnapshot } from "loro-protocol";
import { describe, expect, it } from "vitest";
import {
  allowanceOfBatch,
  containersOf,
  decodeVersion,
  encodeVersion,
  encryptedRecords as taken,
} from "../../src/rooms/encrypted/records.js";

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");
const key = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
const encryptedRecords = (container: Buffer) => taken(container, { ...allowanceOfBatch });
const hexOf = (text: string) => Buffer.from(text).toString("hex");

/** The test vector of the specification: kind, peer, start, end, key id, IV, ciphertext and tag. */
const vector = hex("00 0401020304 01 03 026b31 0c86bcad09d5e7e3d70503a57e 14 6930a8fbe96cc5f30b67f4bc7f53262e01b62852");
const inContainer = (...records: Uint8Array[]) => Buffer.from(encodeEloContainer(records));

/** Without what identifies their ciphertexts: IV and tag, at places of their own in the record. */
const unmarked = (container: Buffer) =>
  encryptedRecords(container)?.map(({ mark, ...record }) => {
    const bytes = Buffer.from(record.payload);
    expect(mark).toHaveLength(28);
    expect(bytes.includes(Buffer.from(mark.subarray(0, 12)))).toBe(true);
    expect(bytes.subarray(-16)).toEqual(Buffer.from(mark.subarray(12)));
    return record;
  });

describe("the payload of an encrypted update", () => {
  it("is taken apart by its headers: the vector of the specification, laid out by hand and as the official library makes it", async () => {
    const { record } = await encryptDeltaSpan(
      hex("01026869"),
      { peerId: hex("01020304"), start: 1, end: 3, keyId: "k1", iv: hex("86bcad09d5e7e3d70503a57e") },
      key,
    );
    expect(Buffer.from(record)).toEqual(vector);
    expect(unmarked(Buffer.concat([hex("01 2d"), vector]))).toEqual([
      { payload: new Uint8Array(vector), span: { peer: hex("01020304"), first: 1, next: 3 } },
    ]);
  });

  it("names in a snapshot every peer it has", async () => {
    const { record } = await encryptSnapshot(
      Uint8Array.of(0),
      {
        vv: [
          { peerId: hex("02"), counter: 5 },
          { peerId: hex("01ff"), counter: 900 },
        ],
        keyId: "k1",
        iv: new Uint8Array(12),
      },
      key,
    );
    expect(unmarked(inContainer(record))).toEqual([
      {
        payload: record,
        version: new Map([
          ["01ff", 900],
          ["02", 5],
        ]),
      },
    ]);
  });

  it.each([
    [
      "a span that ends where it begins",
      "00 0131 03 03 026b31 0c86bcad09d5e7e3d70503a57e 10 00000000000000000000000000000000",
    ],
    [
      "a counter beyond what Loro counts",
      "00 0131 03 8080808008 026b31 0c86bcad09d5e7e3d70503a57e 10 00000000000000000000000000000000",
    ],
    ["an IV of 11 bytes", "00 0131 01 03 026b31 0b86bcad09d5e7e3d70503a5 10 00000000000000000000000000000000"],
    ["no room for the tag", "00 0131 01 03 026b31 0c86bcad09d5e7e3d70503a57e 0f 000000000000000000000000000000"],
    ["a peer without an id", "00 00 01 03 026b31 0c86bcad09d5e7e3d70503a57e 10 00000000000000000000000000000000"],
    [
      "a peer id of 65 bytes",
      `00 41 ${"31".repeat(65)} 01 03 026b31 0c86bcad09d5e7e3d70503a57e 10 00000000000000000000000000000000`,
    ],
    [
      "a key id of 65 bytes",
      `00 0131 01 03 41 ${"6b".repeat(65)} 0c86bcad09d5e7e3d70503a57e 10 00000000000000000000000000000000`,
    ],
    ["a key id that is no text", "00 0131 01 03 02ffff 0c86bcad09d5e7e3d70503a57e 10 00000000000000000000000000000000"],
    [
      "a snapshot of 16,385 peers",
      `01 818001 ${"013105".repeat(16_385)} 026b31 0c86bcad09d5e7e3d70503a57e 10 00000000000000000000000000000000`,
    ],
    ["another kind", "02 026b31 0c86bcad09d5e7e3d70503a57e 10 00000000000000000000000000000000"],
    [
      "more bytes than it says",
      "00 0131 01 03 026b31 0c86bcad09d5e7e3d70503a57e 10 00000000000000000000000000000000 ff",
    ],
  ])("is refused with %s", (_what, record) => {
    expect(encryptedRecords(inContainer(hex(record)))).toBeUndefined();
    expect(encryptedRecords(inContainer(vector, hex(record)))).toBeUndefined();
  });

  it("is counted before it is read, over all of a batch", () => {
    const snapshot = hex(
      `01 8008 ${"013105".repeat(1_024)} 026b31 0c86bcad09d5e7e3d70503a57e 10 00000000000000000000000000000000`,
    );
    const many = inContainer(...Array(8).fill(snapshot));
    const batch = { ...allowanceOfBatch };
    expect([taken(many, batch)?.length, taken(many, batch)?.length, taken(many, batch)?.length]).toEqual([
      8,
      8,
      undefined,
    ]);
    expect(batch.peers).toBe(-1_024);
    const spans = { ...allowanceOfBatch };
    for (let n = 0; n < 4_096; n++) expect(taken(inContainer(vector), spans)).toHaveLength(1);
    // Nothing of it is there but the number.
    expect(taken(hex("80808001"), spans)).toBeUndefined();
    expect(spans.records).toBeLessThan(0);
  });

  it("is never more than undefined, whatever the bytes are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(), (bytes, at) => {
        encryptedRecords(Buffer.from(bytes));
        const changed = inContainer(vector);
        changed[at % changed.length] = bytes[0] ?? 0;
        for (const { span } of encryptedRecords(changed) ?? []) expect(span?.first).toBeLessThan(span?.next ?? 0);
        expect(encryptedRecords(inContainer(vector).subarray(0, at % changed.length))).toBeUndefined();
      }),
    );
  });

  it("is made of the records as they came, in payloads that fit a frame", () => {
    const records = Array.from({ length: 2_000 }, (_, n) => new Uint8Array(300).fill(n));
    const containers = containersOf(records);
    expect(containers.length).toBeGreaterThan(3);
    for (const container of containers) expect(container.length).toBeLessThan(140 * 1_024);
    expect(containers.flatMap(decodeEloContainer)).toHaveLength(2_000);
    expect(Buffer.concat(containers.flatMap(decodeEloContainer)).equals(Buffer.concat(records))).toBe(true);
    const large = new Uint8Array(300_000);
    expect(
      containersOf([vector, large, vector])
        .map(decodeEloContainer)
        .map((some) => some.length),
    ).toEqual([1, 1, 1]);
    expect(containersOf([vector, vector])).toEqual([encodeEloContainer([vector, vector])]);
    expect(containersOf([])).toEqual([]);
  });
});

describe("the version of an encrypted document", () => {
  it("is read and written as Loro does", () => {
    const peer = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String);
    fc.assert(
      fc.property(fc.dictionary(peer, fc.integer({ min: 1, max: 2 ** 31 - 1 }), { maxKeys: 5 }), (counters) => {
        const official = new VersionVector(new Map(Object.entries(counters)) as Map<`${number}`, number>);
        const expected = new Map(Object.entries(counters).map(([id, counter]) => [hexOf(id), counter]));
        expect(new Map(decodeVersion(official.encode()))).toEqual(expected);
        expect(new Map(VersionVector.decode(encodeVersion(expected)).toJSON())).toEqual(
          new Map(Object.entries(counters)),
        );
      }),
    );
  });

  it("is the empty one when it is not given, one byte when it is empty, and leaves out peers that are no numbers", () => {
    expect(decodeVersion(new Uint8Array())).toEqual(new Map());
    expect(encodeVersion(new Map())).toEqual(Uint8Array.of(0));
    const names = ["007", "-1", "x", "18446744073709551616"];
    expect(encodeVersion(new Map(names.map((name) => [hexOf(name), 1])))).toEqual(Uint8Array.of(0));
  });

  it.each(["01", "0101", "010103", "0001", "01ffffffffffffffffff0202", "ffffffffff01"])("is not %s", (bytes) => {
    expect(decodeVersion(hex(bytes))).toBeUndefined();
  });
});
