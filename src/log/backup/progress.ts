import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";

const progressSchema = z.object({
  sha256: z.string(),
  userId: z.string(),
  spaceId: z.string().nullable(),
  /** Of the log that it is restored into: of another database, also one that went back, the lines below say nothing. */
  epoch: z.string(),
  /** Spaces whose lines were left out: of these nothing is there. */
  leftOut: z.array(z.string()),
  /** So many lines of the file are in the database. */
  lines: z.int(),
  /** The last of them that is a change or a record, as it stands in the file: restoring it again must find it there. */
  proof: z.string(),
});
export type Progress = z.infer<typeof progressSchema>;

/** How far an import of a file has come, kept in a file beside it. */
export interface ProgressFile {
  /** Undefined when there is none, or it is about something else. */
  read(): Promise<Progress | undefined>;
  write(progress: Pick<Progress, "lines" | "proof">): Promise<void>;
  remove(): Promise<void>;
}

/** In: of what an import is, and into what. */
export function progressFile(path: string, about: Omit<Progress, "lines" | "proof">): ProgressFile {
  return {
    async read() {
      const text = await readFile(path, "utf8").catch(() => undefined);
      if (text === undefined) return undefined;
      const progress = parse(text);
      if (progress === undefined) return undefined;
      const { lines, proof, ...found } = progress;
      return isDeepStrictEqual(found, about) ? progress : undefined;
    },
    async write(progress) {
      await writeFile(`${path}.new`, JSON.stringify({ ...about, ...progress }));
      await rename(`${path}.new`, path);
    },
    // Where it cannot be removed it is still true.
    remove: () => rm(path, { force: true }).catch(() => undefined),
  };
}

function parse(text: string): Progress | undefined {
  try {
    return progressSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
