import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { PassThrough, type Writable } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { exportUser, type Manifest } from "../log/backup/index.js";
import { type Command, databaseOption, databaseOptionHelp, parseCommandLine, UsageError } from "./command.js";
import { connect } from "./connect.js";
import { progressLine } from "./progress-line.js";

const help = `Usage: perch export --user USER [--out FILE] [options]

Writes all that a user authored to one file (JSON lines, gzip): changes, also in spaces the user has left, and
documents with their history. The last line is a manifest with counts and a SHA-256; perch import reads it back.
Edits to documents that no worker has merged yet are not in it; their number is printed.

Options:
  --user USER          whose content
  --out FILE           where to; standard output when not given. The file appears when it is whole
${databaseOptionHelp}

Changes longer than a page (max_page_bytes), and records longer than 64 MiB, are not in it; they are named, and the
exit code is 1.

The login needs the role perch_app. perch start may run meanwhile.
`;

/** Runs `fill` with a writer into a gzip file or standard output. */
async function writing<T>(out: string | undefined, fill: (write: (line: string) => Promise<void>) => Promise<T>) {
  const partial = out === undefined ? undefined : `${out}.part`;
  const gzip = createGzip();
  const sink: Writable = partial === undefined ? new PassThrough() : createWriteStream(partial, { mode: 0o600 });
  if (partial === undefined) sink.pipe(process.stdout);
  const written = pipeline(gzip, sink);
  // Looked at below, when the work is done; until then a failed disk shows in write().
  written.catch(() => undefined);
  try {
    const result = await fill(async (line) => {
      if (gzip.destroyed) await written;
      if (!gzip.write(line)) await Promise.race([once(gzip, "drain"), written]);
    });
    gzip.end();
    await written;
    if (partial === undefined) await finished(sink);
    else if (out !== undefined) {
      const file = await open(partial, "r+");
      await file.sync();
      await file.close();
      await rename(partial, out);
    }
    return result;
  } catch (error) {
    gzip.destroy();
    if (partial !== undefined) await rm(partial, { force: true });
    throw error;
  }
}

const summary = ({ counts, sha256 }: Manifest) =>
  `${counts.changes} changes, ${counts.records} records, ${counts.documents} documents; SHA-256 ${sha256}`;

async function run(args: string[]): Promise<number | undefined> {
  const { values, positionals } = parseCommandLine(args, {
    ...databaseOption,
    user: { type: "string" },
    out: { type: "string" },
  });
  if (positionals.length > 0) throw new UsageError(`unexpected argument "${positionals[0]}"`);
  const { user, out, "database-url": url } = values;
  if (!user) throw new UsageError("--user is missing: whose changes are to be exported");
  if (out === undefined && process.stdout.isTTY) {
    throw new UsageError("the export is binary: name a file with --out, or redirect it");
  }
  const progress = progressLine();
  const { db } = await connect({ ...(url === undefined ? {} : { url }), existing: true, share: true });
  let pending = 0;
  const leftOut: string[] = [];
  let leftOutCount = 0;
  try {
    const manifest = await writing(out, (write) =>
      exportUser(db, {
        userId: user,
        write,
        onProgress: ({ records, changes, documents }) =>
          progress.show(`${changes} changes, ${records} records, ${documents} documents`),
        onPending: (count) => {
          pending = count;
        },
        onLeftOut: ({ space_id, app_id, table, id }) => {
          leftOutCount += 1;
          if (leftOut.length < 20) leftOut.push(`${space_id} ${app_id} ${table} ${id}`);
        },
      }),
    );
    progress.end();
    process.stderr.write(`exported ${summary(manifest)}\n`);
    if (pending > 0) {
      process.stderr.write(
        `not in it: ${pending} edits of ${user} to documents that no worker has merged yet; run perch start or perch worker, then export again\n`,
      );
    }
    if (leftOutCount > 0) {
      process.stderr.write(
        `not in it: ${leftOutCount} changes and records that are too long, such as ${leftOut.join("; ")}\n`,
      );
    }
    return leftOutCount > 0 ? 1 : 0;
  } finally {
    progress.end();
    await db.close();
  }
}

export const command: Command = { help, run };
