import { type Command, databaseOption, databaseOptionHelp, parseCommandLine, UsageError } from "./command.js";
import { connect, newerDatabase, requireMigrated, requireRoles } from "./connect.js";
import { createLog } from "./log.js";
import { requireNotMoved } from "./moved.js";
import { requireAddress, serve, untilStopped } from "./serve.js";
import { idleTransactionMs, serveOptions, serveSettings, settingsHelp } from "./settings.js";

const help = `Usage: perch worker [options]

Serves a database that is already migrated, as "perch start" does, and changes nothing in its schema. Any number of
processes may serve one Postgres database at the same time. The login needs the roles perch_worker and perch_app.

Options:
${databaseOptionHelp}
  --host ADDRESS       address to listen on; default: PERCH_HOST, else 127.0.0.1
  --port PORT          port to listen on; default: PERCH_PORT, else 4466

Settings (environment variables; default in parentheses):
${settingsHelp()}

SIGTERM or Ctrl-C stops it within 5 seconds; nothing that was acknowledged is lost.
`;

async function run(args: string[]): Promise<number> {
  const { values, positionals } = parseCommandLine(args, { ...databaseOption, ...serveOptions });
  if (positionals.length > 0) throw new UsageError(`unexpected argument "${positionals[0]}"`);
  const settings = serveSettings(values);
  await requireAddress(settings);
  const log = createLog(settings.logLevel);
  const { db, name } = await connect({
    ...(values["database-url"] === undefined ? {} : { url: values["database-url"] }),
    // Without a URL of its own to listen on, this one leads to Postgres itself.
    ...(settings.listenUrl === undefined ? { prepare: true } : { listenUrl: settings.listenUrl }),
    poolSize: settings.poolSize,
    queryTimeoutMs: settings.queryTimeoutMs,
    idleTransactionMs: idleTransactionMs(settings),
    maxMessageBytes: settings.maxMessageBytes,
    onError: (error) =>
      log.warn({ err: error }, "a connection to the database was lost; another is made when one is needed"),
  });
  try {
    await requireRoles(db);
    await requireNotMoved(db, (message) => process.stdout.write(`waiting: ${message}\n`));
    if (await requireMigrated(db)) log.warn(newerDatabase);
    const serving = await serve(db, settings, log);
    process.stdout.write(`perch serves ${name} on ${serving.gateway.url}\n`);
    return await untilStopped(async (withinMs) => {
      await serving.close(withinMs);
      await db.close();
    }, serving.moved);
  } finally {
    await db.close();
  }
}

export const command: Command = { help, run };
