import {
  count,
  createDigest,
  type Header,
  type LineCounts,
  type Manifest,
  NewerFormatError,
  noCounts,
  parseLine,
} from "./format.js";
import { readLines } from "./lines.js";

/** A file that can be imported, and what is in it. */
export interface Verified {
  header: Header;
  manifest: Manifest;
  /** Every space that something is in. */
  spaceIds: Set<string>;
  /** The lines that declare document tables. */
  documentTables: string[];
}

/**
 * Reads a whole file and checks it: every line is one of the format, the counts and the hash are those of the manifest, nothing is
 * missing and nothing added. Throws an error that says what is wrong.
 */
export async function verifyExport(
  path: string,
  onProgress?: (counts: Readonly<LineCounts>) => void,
): Promise<Verified> {
  const digest = createDigest();
  const counts = noCounts();
  const spaceIds = new Set<string>();
  const documentTables: Verified["documentTables"] = [];
  let header: Header | undefined;
  let manifest: Manifest | undefined;
  let number = 0;
  const wrong = (what: string) => new Error(`${path} cannot be imported: ${what}`);
  try {
    for await (const bytes of readLines(path)) {
      number += 1;
      if (manifest) throw new Error("something follows the manifest");
      const text = bytes.toString("utf8");
      const line = parseLine(text);
      if ((number === 1) !== (line.kind === "perch-export")) throw new Error("it is not an export of perch");
      if (line.kind === "manifest") {
        manifest = line;
        continue;
      }
      digest.update(bytes).update("\n");
      count(counts, line);
      if (line.kind === "perch-export") header = line;
      else if (line.kind === "document_table") documentTables.push(text);
      else spaceIds.add(line.space_id);
      if (number % 1_000 === 0) onProgress?.(counts);
    }
  } catch (error) {
    if (error instanceof NewerFormatError) throw wrong(error.message);
    throw wrong(`line ${number}: ${(error as Error).message}`);
  }
  if (!header || !manifest) throw wrong("it is cut off: there is no manifest at its end");
  if (digest.digest("hex") !== manifest.sha256)
    throw wrong("it was changed: its SHA-256 is not the one in its manifest");
  for (const [what, expected] of Object.entries(manifest.counts)) {
    const found = counts[what as keyof LineCounts];
    if (found !== expected) throw wrong(`it holds ${found} ${what}, its manifest says ${expected}`);
  }
  return { header, manifest, spaceIds, documentTables };
}
