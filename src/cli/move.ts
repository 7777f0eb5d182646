import { MoveRefused } from "../database/moving/begin.js";
import { abortMove, move } from "../database/moving/move.js";
import { databaseUrl } from "../database/open.js";
import { type Command, parseCommandLine, UsageError } from "./command.js";
import { connect, isPostgresUrl, nameOf } from "./connect.js";
import { progressLine } from "./progress-line.js";

const help = `Usage: perch move --to URL [options]

Moves all that perch has, and the rows of synced tables, from the embedded folder to a server, or from one server to
another, while the source is served. At the end the source takes no writes for some seconds; then it is left for good,
and its clients go on with the target, where they were.

Options:
  --from URL           what is moved; default: DATABASE_URL, else the embedded database in ./.perch
  --to URL             where to: postgres://…, an empty database. What your app's own migrations make (tables that are
                       synced, functions that are registered) has to be there, without rows
  --copy-only          copies, compares, and ends before anybody is refused; the next run goes on
  --abort              gives a move up that has not come to its end: the source is as before

Run it again when it was interrupted: it goes on. Until it says that everything was moved, nothing is lost by giving it
up. The logins are superusers, or members of perch_owner, perch_worker and perch_app that own the synced tables; that of
the target may also set session_replication_role.
`;

async function run(args: string[]): Promise<number | undefined> {
  const { values, positionals } = parseCommandLine(args, {
    from: { type: "string" },
    to: { type: "string" },
    "copy-only": { type: "boolean" },
    abort: { type: "boolean" },
  });
  if (positionals.length > 0) throw new UsageError(`unexpected argument "${positionals[0]}"`);
  const { from, to, abort = false } = values;
  if (abort && to !== undefined)
    throw new UsageError("--abort goes with --from alone: it names the database that stays");
  if (!abort && to === undefined)
    throw new UsageError("--to is missing: the server that everything is to go to, postgres://…");
  if (to !== undefined && !isPostgresUrl(to)) throw new UsageError("--to has to be a server: postgres://…");
  const fromName = nameOf(databaseUrl(from));
  const source = await connect({
    ...(from === undefined ? {} : { url: from }),
    existing: true,
    share: true,
    poolSize: 3,
  });
  try {
    if (abort) {
      await abortMove(source.db);
      process.stdout.write(`${fromName} is as before; drop the database that it was moved to\n`);
      return 0;
    }
    const target = await connect({ url: to as string, poolSize: 3 });
    try {
      return await moving(source.db, target.db, {
        fromName,
        toName: target.name,
        copyOnly: values["copy-only"] ?? false,
      });
    } finally {
      await target.db.close();
    }
  } finally {
    await source.db.close();
  }
}

async function moving(
  from: Parameters<typeof move>[0]["from"],
  to: Parameters<typeof move>[0]["to"],
  names: { fromName: string; toName: string; copyOnly: boolean },
): Promise<number> {
  const progress = progressLine();
  const said = (line: string) => {
    progress.end();
    process.stdout.write(`${line}\n`);
  };
  try {
    const { counts, stoppedMs } = await move({
      from,
      to,
      ...names,
      onStep: (step) => said(step),
      onProgress: (text) => progress.show(text),
    });
    progress.end();
    if (names.copyOnly) {
      said(`copied to ${names.toName}; run it again without --copy-only to move there, or give it up with --abort`);
      return 0;
    }
    const rows = [...counts.values()].reduce((sum, count) => sum + count, 0);
    for (const [relation, count] of counts) if (count > 0) said(`  ${relation}  ${count} rows, the same at both ends`);
    said(
      `moved ${rows} rows to ${names.toName}${stoppedMs === undefined ? "" : `; no writes were taken for ${(stoppedMs / 1000).toFixed(1)} s`}`,
    );
    said("Serve that one now: set DATABASE_URL to it.");
    return 0;
  } catch (error) {
    progress.end();
    if (!(error instanceof MoveRefused))
      process.stderr.write("nothing was lost: run it again, and it goes on, or give it up with --abort\n");
    throw error;
  }
}

export const command: Command = { help, run };
