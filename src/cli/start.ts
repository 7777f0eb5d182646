import { basename, relative, resolve } from "node:path";
import type { Logger } from "pino";
import { type MigrateResult, migrate } from "../database/migrate.js";
import { canServe, migrationStatus } from "../database/migration-status.js";
import { openDatabase } from "../database/open.js";
import type { PgliteDatabase } from "../database/pglite.js";
import { openPgliteSocket, type PgliteSocket } from "../database/pglite-socket.js";
import type { Database } from "../database/types.js";
import type { GatewaySettings } from "../gateway/index.js";
import { type Command, databaseOption, databaseOptionHelp, parseCommandLine, UsageError } from "./command.js";
import { type Connected, connect, isMadeMigrated, newerDatabase, requireRoles } from "./connect.js";
import { createLog, createReadableLog } from "./log.js";
import { requireNotMoved } from "./moved.js";
import { requireAddress, serve, untilStopped } from "./serve.js";
import { idleTransactionMs, type ServeSettings, serveOptions, serveSettings, settingsHelp } from "./settings.js";

const help = `Usage: perch start [options]

Brings the database up to date and serves it until it is stopped: merges what SQL callers push, keeps records
in step with their documents, and lets Loro and HTTP clients connect.

Options:
${databaseOptionHelp}
  --host ADDRESS       address to listen on; default: PERCH_HOST, else 127.0.0.1
  --port PORT          port to listen on; default: PERCH_PORT, else 4466

Settings (environment variables; default in parentheses):
${settingsHelp()}

SIGTERM or Ctrl-C stops it within 5 seconds; nothing that was acknowledged is lost.
`;

const print = (line: string) => process.stdout.write(`${line}\n`);

/** `perch start`; as perch dev with a log for people, of every request, unless PERCH_LOG_LEVEL says otherwise. */
export async function runStart(args: string[], { forPeople = false } = {}): Promise<number> {
  const { values, positionals } = parseCommandLine(args, { ...databaseOption, ...serveOptions });
  if (positionals.length > 0) throw new UsageError(`unexpected argument "${positionals[0]}"`);
  const env = forPeople ? { PERCH_LOG_LEVEL: "info", ...process.env } : process.env;
  const settings = serveSettings({ ...values, development: true }, env);
  await requireAddress(settings);
  const log = forPeople ? await createReadableLog(settings.logLevel) : createLog(settings.logLevel);
  const connected = await connect({
    serves: true,
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
  const { db } = connected;
  let socket: PgliteSocket | undefined;
  try {
    await requireNotMoved(db, (message) => print(`waiting: ${message}`));
    const migrated = await bringUpToDate(db, values["database-url"], log);
    await requireRoles(db);
    socket = await openSocket(connected, log);
    const serving = await serve(db, settings, log);
    print(welcome(connected, settings, migrated, serving.gateway.url, socket));
    return await untilStopped(async (withinMs) => {
      await Promise.all([serving.close(withinMs), socket?.close()]);
      await db.close();
    }, serving.moved);
  } finally {
    await socket?.close();
    await db.close();
  }
}

const nothingDone: MigrateResult = { migrations: [], changedFiles: [], mended: [], differences: [] };

/** A migration takes as long as it takes: on Postgres it has a connection without a time limit. */
async function bringUpToDate(db: Database, url: string | undefined, log: Logger): Promise<MigrateResult> {
  // What it would compare, the catalog and half a thousand files, takes a fifth of what it takes to serve a new folder.
  if (isMadeMigrated(db)) return nothingDone;
  if (db.kind === "pglite") return migrate(db);
  const patient = await openDatabase({ ...(url === undefined ? {} : { url }), poolSize: 1 });
  try {
    const status = await migrationStatus(patient);
    if (status.newer && canServe(status)) {
      log.warn(newerDatabase);
      return nothingDone;
    }
    return await migrate(patient, { onWait: (message) => log.warn(`migrating: ${message}`) });
  } finally {
    await patient.close();
  }
}

/** Other programs reach the embedded database through a socket; without it everything else works. */
async function openSocket({ db, folder }: Connected, log: Logger): Promise<PgliteSocket | undefined> {
  if (folder === undefined) return undefined;
  try {
    return await openPgliteSocket({ client: (db as PgliteDatabase).client, folder });
  } catch (error) {
    log.warn(
      { err: error },
      "perch sql and psql cannot reach the embedded database while it is served; all else works",
    );
    return undefined;
  }
}

function welcome(
  { name, folder }: Connected,
  { gateway }: ServeSettings,
  { migrations, changedFiles }: MigrateResult,
  url: string,
  socket: PgliteSocket | undefined,
): string {
  const { development } = gateway;
  const applied =
    migrations.length + changedFiles.length === 0
      ? "up to date"
      : `applied ${migrations.length} migrations and ${changedFiles.length} files of sql/`;
  const perch = invocation();
  const change = { op: "insert", table: "tasks", id: "t1", data: { title: "Buy milk" } };
  const body = JSON.stringify({ app_id: "demo", client_id: "curl", changes: [change] });
  return [
    "perch is ready.",
    `  database  ${folder === undefined ? name : `embedded, in ${folder}`} (${applied})`,
    ...(socket === undefined ? [] : [`  SQL       ${sqlCommand(perch, socket.folder)} "select …"`]),
    `  Loro      ${url.replace(/^http/, "ws")}/sync`,
    `  HTTP      ${url}`,
    ...(gateway.console === "on" ? [`  console   ${url}/console/${consoleToken(gateway, perch)}`] : []),
    ...(development
      ? ["  users     development mode: a token is a plain user id, so only this machine may connect"]
      : []),
    ...toTry(gateway, perch),
    `  curl -H "authorization: Bearer ${development ? "ann" : "$TOKEN"}" -H 'content-type: application/json' ${url}/v1/push -d '${body}'`,
    "Ctrl-C stops it.",
  ].join("\n");
}

const sqlCommand = (perch: string, folder: string) =>
  `${perch} sql${folder === resolve(".perch") ? "" : ` --database-url ${quoted(`pglite:${folder}`)}`}`;

/** How one gets in there, where not everybody does. */
function consoleToken({ development, jwtSecret }: GatewaySettings, perch: string): string {
  if (development) return "";
  if (jwtSecret === undefined) return "  with a token that has the claim perch_role";
  return `  with a token of: ${perch} token --user you --console admin`;
}

/** How a token comes to be in the line that follows. It is not printed here: what a server prints is kept in logs. */
function toTry({ development, jwtSecret }: GatewaySettings, perch: string): string[] {
  if (development) return ["Try, in another terminal:"];
  if (jwtSecret === undefined) return ["Try, in another terminal, with a token of your users' in $TOKEN:"];
  return ["Try, in another terminal where PERCH_JWT_SECRET is set, too:", `  TOKEN=$(${perch} token --user ann)`];
}

/** How people get to the program that this is, where they started it. */
function invocation(): string {
  const [, script = ""] = process.argv;
  if (process.env.npm_command !== undefined || /[\\/]node_modules[\\/]/.test(script)) return "npx perch";
  return basename(script) === "perch" ? "perch" : `node ${quoted(relative(process.cwd(), script))}`;
}

const quoted = (path: string) => (/^[\w./:-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);

export const command: Command = { help, run: (args) => runStart(args) };
