import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";

/** Longer than any line that an export writes. */
const maxLineBytes = 256 * 1024 * 1024;
const lineFeed = 0x0a;

/**
 * The lines of a gzip file, without their line feeds, one at a time. Throws when the file cannot be read, is not gzip, is cut off, or
 * its last line does not end.
 */
export async function* readLines(path: string): AsyncGenerator<Buffer> {
  const file = createReadStream(path);
  const unzipped = file.pipe(createGunzip());
  file.on("error", (error) => unzipped.destroy(error));
  try {
    let parts: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of unzipped as AsyncIterable<Buffer>) {
      let from = 0;
      for (let to = chunk.indexOf(lineFeed); to >= 0; to = chunk.indexOf(lineFeed, from)) {
        const last = chunk.subarray(from, to);
        yield parts.length === 0 ? last : Buffer.concat([...parts, last]);
        parts = [];
        bytes = 0;
        from = to + 1;
      }
      if (from === chunk.length) continue;
      parts.push(chunk.subarray(from));
      bytes += chunk.length - from;
      if (bytes > maxLineBytes) throw new Error("a line is too long");
    }
    if (parts.length > 0) throw new Error("the last line is cut off");
  } finally {
    file.destroy();
    unzipped.destroy();
  }
}
