import fc from "fast-check";
import { type PeerID, VersionVector } from "loro-crdt";
import { expect, it } from "vitest";
import { decodeVersionMap, encodeVersionMap } from "../../../src/documents/loro/format/version-vector.js";

const peers = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt({ min: 0n, max: 300n }));
const counters = fc.oneof(fc.integer({ min: 0, max: 2 ** 31 - 1 }), fc.integer({ min: 0, max: 200 }));
const versions = fc
  .array(fc.tuple(peers, counters), { maxLength: 40 })
  .map((entries) => new Map(entries.map(([peer, counter]) => [`${peer}` as PeerID, counter])));

it("reads and writes version vectors as Loro does", () => {
  fc.assert(
    fc.property(versions, (version) => {
      const theirs = VersionVector.parseJSON(version);
      expect(decodeVersionMap(theirs.encode())).toEqual(theirs.toJSON());
      expect(VersionVector.decode(encodeVersionMap(version)).toJSON()).toEqual(theirs.toJSON());
    }),
  );
  expect(encodeVersionMap(new Map())).toEqual(Uint8Array.of(0));
});

it("reads nothing that Loro reads otherwise, or not at all", () => {
  const mutated = fc
    .tuple(
      versions,
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 3 }),
      fc.nat(),
      fc.boolean(),
    )
    .map(([version, changes, length, cut]) => {
      const bytes = VersionVector.parseJSON(version).encode();
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
      return cut ? bytes.subarray(0, length % (bytes.length + 1)) : bytes;
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 60 })), (bytes) => {
      const ours = decodeVersionMap(bytes);
      if (ours !== undefined) expect(VersionVector.decode(bytes).toJSON()).toEqual(ours);
    }),
    { numRuns: 2_000 },
  );
});

it("leaves to Loro what Loro would not have written", () => {
  const foreign = {
    nothing: [],
    "more behind it": [0, 0],
    "a number of entries that cannot be": [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    "an entry that is not there": [2, 5, 4],
    "a peer twice": [2, 5, 4, 5, 6],
    "a counter below zero": [1, 5, 3],
    "a number in a longer form": [1, 0x85, 0, 4],
    "a peer that is too large": [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3, 4],
  };
  for (const [what, bytes] of Object.entries(foreign))
    expect(decodeVersionMap(Uint8Array.from(bytes)), what).toBeUndefined();
});
