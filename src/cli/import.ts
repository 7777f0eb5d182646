import { existsSync } from "node:fs";
import { type ImportResult, importUser } from "../log/backup/index.js";
import { type Command, databaseOption, databaseOptionHelp, parseCommandLine, UsageError } from "./command.js";
import { connect } from "./connect.js";
import { progressLine } from "./progress-line.js";

const help = `Usage: perch import FILE [options]

Restores what perch export wrote. The whole file is verified before anything is written. Every change keeps its
time, so what is newer here stays; doing it again changes nothing. When interrupted, run it again: it goes on
where it was (FILE.progress, beside the file, says where; it goes when all is done).

Options:
  --user USER          into this user's name and personal space, instead of those of the export
  --space SPACE        everything into this one space, which the user may write
  --skip-forbidden     leave out spaces that the user may not write, instead of refusing to begin
${databaseOptionHelp}

The login needs the role perch_app, the database the tables of the documents (perch.declare_table). Documents
show once a worker has merged them: perch start, perch worker. Exit code 1 when anything was rejected.
`;

function report(result: ImportResult): void {
  const { applied, present, updates, skipped, rejected, rejections, resumedAt } = result;
  const parts = [`restored ${applied} changes`, `${present} there already`];
  if (updates > 0) parts.push(`${updates} updates of documents for the worker to merge`);
  if (skipped > 0) parts.push(`${skipped} left out`);
  if (rejected > 0) parts.push(`${rejected} rejected`);
  if (resumedAt > 0) parts.push(`went on from line ${resumedAt}`);
  process.stdout.write(`${parts.join(", ")}\n`);
  for (const { table, id, message } of rejections) process.stderr.write(`rejected ${table} ${id}: ${message}\n`);
  if (rejected > rejections.length) process.stderr.write(`and ${rejected - rejections.length} more\n`);
}

async function run(args: string[]): Promise<number | undefined> {
  const { values, positionals } = parseCommandLine(args, {
    ...databaseOption,
    user: { type: "string" },
    space: { type: "string" },
    "skip-forbidden": { type: "boolean" },
  });
  const [path, ...rest] = positionals;
  if (path === undefined) throw new UsageError("which file? perch import FILE --user ID");
  if (rest.length > 0) throw new UsageError(`unexpected argument "${rest[0]}"`);
  const url = values["database-url"];
  const progress = progressLine();
  if (!existsSync(path)) throw new Error(`there is no file ${path}`);
  const { db } = await connect({ ...(url === undefined ? {} : { url }), existing: true, share: true });
  try {
    const result = await importUser(db, {
      path,
      userId: values.user,
      spaceId: values.space,
      skipForbidden: values["skip-forbidden"],
      onProgress: ({ phase, lines, totalLines }) =>
        progress.show(`${phase} ${lines}${totalLines === undefined ? "" : ` of ${totalLines}`}`),
      onUnnoted: ({ message }) => {
        progress.end();
        process.stderr.write(
          `how far it is cannot be noted beside ${path} (${message}): interrupted, it begins anew\n`,
        );
      },
    });
    progress.end();
    report(result);
    return result.rejected > 0 ? 1 : 0;
  } finally {
    progress.end();
    await db.close();
  }
}

export const command: Command = { help, run };
