import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import fc from "fast-check";
import { expect, it } from "vitest";
import { readBody } from "../../src/http/requests.js";

/** A request whose body comes in these pieces. */
const requestOf = (pieces: readonly Buffer[]) =>
  Object.assign(Readable.from(pieces, { objectMode: true }), { headers: {} }) as unknown as IncomingMessage;

it("a body is read as it was sent, whatever pieces it comes in, and not beyond its limit", async () => {
  const text = fc.string({ unit: "binary", maxLength: 300 });
  await fc.assert(
    fc.asyncProperty(text, fc.array(fc.nat(1_000), { maxLength: 30 }), async (sent, cuts) => {
      const bytes = Buffer.from(sent.toWellFormed());
      const ends = [...new Set([...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b);
      const pieces = ends.map((end, nth) => Buffer.from(bytes.subarray(ends[nth - 1] ?? 0, end)));
      let arrived = 0;
      const read = await readBody(requestOf(pieces), bytes.length, (count) => {
        arrived += count;
      });
      expect(read).toBe(sent.toWellFormed());
      expect(arrived).toBe(bytes.length);
      if (bytes.length === 0) return;
      await expect(readBody(requestOf(pieces), bytes.length - 1)).rejects.toMatchObject({ code: "PE413" });
    }),
  );
});

it("a body that is no text is refused, with what it seems to be", async () => {
  await expect(readBody(requestOf([Buffer.from([0x1f]), Buffer.from([0x8b, 8])]), 100)).rejects.toThrow(/gzip/);
  await expect(readBody(requestOf([Buffer.from("a"), Buffer.from([0xff])]), 100)).rejects.toThrow(/UTF-8/);
});
