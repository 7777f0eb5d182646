import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { databaseUrl } from "../database/open.js";
import { type Command, databaseOption, databaseOptionHelp, parseCommandLine, UsageError } from "./command.js";
import { cannotReach, isPostgresUrl, nameOf, noFolder } from "./connect.js";
import { runOnPglite, runOnPostgres, SqlError, type SqlRun } from "./sql-run.js";
import { shownError, shownResult } from "./sql-table.js";

const help = `Usage: perch sql "STATEMENT; ..."
       perch sql -  < FILE

Runs SQL and prints what it returns. Several statements are one transaction, unless they begin and end their own.
Of an embedded database that perch start is serving it asks that process.

Options:
${databaseOptionHelp}

To see what a user sees, take the role of an app and name the user, in one transaction:
  perch sql "set local role perch_app; select perch.set_context('ann'); select * from perch.records"

Exit codes: 0 done, 1 the database refused something or cannot be reached, 2 wrong use.
`;

async function run(args: string[]): Promise<number> {
  const { values, positionals } = parseCommandLine(args, databaseOption);
  const [given, ...rest] = positionals;
  if (given === undefined)
    throw new UsageError('which SQL? perch sql "select …", or perch sql - to read it from standard input');
  if (rest.length > 0) throw new UsageError(`unexpected argument "${rest[0]}": put the SQL in quotes`);
  const url = databaseUrl(values["database-url"]);
  const name = nameOf(url);
  const sql = given === "-" ? await textOf(process.stdin) : given;
  if (/^\s*\\/.test(sql)) {
    throw new UsageError(
      "what begins with a backslash is a command of psql's, and no SQL; perch doctor looks at the schema",
    );
  }
  try {
    await runOn(url, name, { sql, result: (result) => process.stdout.write(shownResult(result)), notice });
    return 0;
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
    process.stderr.write(shownError(error, sql));
    return 1;
  }
}

const notice = (severity: string, message: string) => process.stderr.write(`${severity.toLowerCase()}: ${message}\n`);

async function runOn(url: string, name: string, asked: SqlRun): Promise<void> {
  if (isPostgresUrl(url)) return runOnPostgres(url, asked, (error) => cannotReach(name, error));
  if (!url.startsWith("pglite:"))
    throw new UsageError(
      "a database in memory is gone when the command ends; name a folder (pglite:FOLDER) or a server (postgres://…)",
    );
  const folder = resolve(url.slice("pglite:".length) || ".perch");
  if (!existsSync(folder)) throw noFolder(folder);
  const { openOrReach } = await import("../database/embedded.js");
  const opened = await openOrReach(folder, { migrate: false });
  if (typeof opened === "string") return runOnPostgres(opened, asked, (error) => cannotReach(name, error));
  try {
    await runOnPglite(opened.client, asked);
  } finally {
    await opened.close();
  }
}

export const command: Command = { help, run };
