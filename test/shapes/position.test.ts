import { randomBytes } from "node:crypto";
import { deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { expect, it } from "vitest";
import { offsetOf, type Position, positionOf } from "../../src/shapes/position.js";

it("an offset is where it was made of, whatever the key of the row", () => {
  const position = fc.oneof(
    fc.record({ in: fc.constant("rows" as const), key: fc.array(fc.string({ unit: "binary" }), { minLength: 1 }) }),
    fc.record({
      in: fc.constant("log" as const),
      lsn: fc.bigInt({ min: 1n, max: 10n ** 18n - 1n }),
      op: fc.bigInt({ min: 0n, max: 10n ** 17n }),
    }),
  );
  fc.assert(
    fc.property(position, (given: Position) => {
      expect(positionOf(offsetOf(given))).toEqual(given);
    }),
  );
});

it.each([
  ["of letters that Postgres packs", "x".repeat(60_000)],
  ["of control characters", "\u0001".repeat(2_400)],
  ["of whatever bytes", Array.from(randomBytes(2_700), (byte) => String.fromCharCode(byte & 127)).join("")],
])("a long key %s has an offset for which a header has room", (_, text) => {
  const given: Position = { in: "rows", key: [text, "2"] };
  const offset = offsetOf(given);
  expect(offset.length).toBeLessThan(12_000);
  expect(positionOf(offset)).toEqual(given);
});

it("what a client packed is unpacked up to a megabyte", () => {
  const bomb = deflateRawSync(Buffer.from(JSON.stringify(["x".repeat(2_000_000)])));
  expect(positionOf(`0_${BigInt(`0x02${bomb.toString("hex")}`)}`)).toBeUndefined();
  for (const odd of ["0_2", "0_512", "0_3", "0_", "5_x", "0_769"]) expect(positionOf(odd)).toBeUndefined();
});
