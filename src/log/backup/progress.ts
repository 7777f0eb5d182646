import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { z } from "zod";

const progressSchema = z.object({
  sha256: z.string(),
  userId: z.string(),
  spaceId: z.string().nullable(),
  /** So many lines of the file are in the database. */
  lines: z.int(),
  /** The last of them that is a change or a record, as it stands in the file: restoring it again must find it there. */
  proof: z.string(),
});
export type Progress = z.infer<typeof progressSchema>;

/** How far an import of a file has come, kept in a file beside it. */
export interface ProgressFile {
  /** Undefined when there is none, or it is of another file, user or space. */
  read(): Promise<Progress | undefined>;
  write(progress: Pick<Progress, "lines" | "proof">): Promise<void>;
  remove(): Promise<void>;
}

export function progressFile(path: string, about: Pick<Progress, "sha256" | "userId" | "spaceId">): ProgressFile {
  return {
    async read() {
      const text = await readFile(path, "utf8").catch(() => undefined);
      if (text === undefined) return undefined;
      const progress = parse(text);
      const same =
        progress?.sha256 === about.sha256 && progress.userId === about.userId && progress.spaceId === about.spaceId;
      return same ? progress : undefined;
    },
    async write(progress) {
      await writeFile(`${path}.new`, JSON.stringify({ ...about, ...progress }));
      await rename(`${path}.new`, path);
    },
    remove: () => rm(path, { force: true }),
  };
}

function parse(text: string): Progress | undefined {
  try {
    return progressSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
