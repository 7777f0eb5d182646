#!/usr/bin/env node
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { packageRoot } from "../database/package-root.js";
import { toPerchError } from "../errors.js";
import { nearest, SettingsError } from "../lib/settings.js";
import { UsageError } from "./command.js";
import type { CommandTable } from "./completion.js";
import { requireKnownEnvironment } from "./settings.js";

/** Every command: one line for `perch --help`, and the module that has the rest, loaded only when it is called. */
const commands: CommandTable = {
  start: {
    summary: "bring the database up to date and serve it: the embedded one, or DATABASE_URL",
    load: () => import("./start.js"),
  },
  dev: {
    summary: "the same with a log for people, and a line for each request",
    load: () => import("./dev.js"),
  },
  worker: {
    summary: "serve a database that is migrated already; any number of processes may",
    load: () => import("./worker.js"),
  },
  migrate: {
    summary: "bring a database up to date, take migrations back, show what is missing, print the SQL",
    load: () => import("./migrate.js"),
  },
  sql: {
    summary: "run SQL and print what it returns",
    load: () => import("./sql.js"),
  },
  token: {
    summary: "make a token for a user, where PERCH_JWT_SECRET is set",
    load: () => import("./token.js"),
  },
  doctor: {
    summary: "look at a database that perch uses, and say what is wrong with it",
    load: () => import("./doctor.js"),
  },
  export: {
    summary: "write all that a user authored to a file",
    load: () => import("./export.js"),
  },
  import: {
    summary: "restore such a file, also into another user or space",
    load: () => import("./import.js"),
  },
  move: {
    summary: "move everything from the embedded folder to a server, or between servers, while it is served",
    load: () => import("./move.js"),
  },
  completion: {
    summary: "print a script that lets a shell complete commands and options",
    load: async () => ({ command: (await import("./completion.js")).completionOf(commands) }),
  },
};

function overview(): string {
  const width = Math.max(...Object.keys(commands).map((name) => name.length)) + 3;
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(width)}${summary}`);
  return [
    "Usage: perch COMMAND [options]",
    "",
    "Turns a Postgres database into the sync server of local-first and collaborative apps.",
    "",
    "Commands:",
    ...lines,
    "",
    "  perch COMMAND --help   more about a command",
    "  perch --version        the version",
    "",
    "Exit codes: 0 done, 1 failed, 2 wrong use.",
    "",
  ].join("\n");
}

async function version(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(packageRoot, "package.json"), "utf8")) as { version: string };
  return `${version}\n`;
}

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(overview());
    return 0;
  }
  if (name === "--version" || name === "-v") {
    process.stdout.write(await version());
    return 0;
  }
  if (name === undefined) {
    process.stderr.write(overview());
    return 2;
  }
  const entry = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (entry === undefined) {
    const near = nearest(name, Object.keys(commands));
    throw new UsageError(`unknown command "${name}"${near === undefined ? "" : `; did you mean ${near}?`}`);
  }
  const { command } = await entry.load();
  if (rest.includes("--help") || rest.includes("-h")) {
    process.stdout.write(command.help);
    return 0;
  }
  requireKnownEnvironment();
  return (await command.run(rest)) ?? 0;
}

async function report(error: unknown, args: string[]): Promise<number> {
  if (error instanceof UsageError || error instanceof SettingsError) {
    const about =
      args[0] !== undefined && Object.hasOwn(commands, args[0]) ? `perch ${args[0]} --help` : "perch --help";
    process.stderr.write(`perch: ${error.message}\nSee: ${about}\n`);
    return 2;
  }
  const { detail, hint } = toPerchError(error) ?? {};
  const lines = [
    `perch: ${messageOf(error)}`,
    detail ? JSON.stringify(detail) : undefined,
    hint ?? (await remedyOf(error)),
  ];
  process.stderr.write(lines.flatMap((line) => (line === undefined ? [] : `${line}\n`)).join(""));
  return 1;
}

/** What to do about what the database said, where that is known. */
async function remedyOf(error: unknown): Promise<string | undefined> {
  const { lacksFunction, lacksRight, troubleOf } = await import("../database/errors.js");
  const { message } = (error ?? {}) as { message?: unknown };
  if (lacksFunction(error) && /perch\./.test(String(message))) {
    return "The database was migrated by another version; run: perch migrate up";
  }
  if (lacksRight(error)) {
    return "The login lacks a right; see perch COMMAND --help for the roles it needs, and perch doctor for those it has";
  }
  if (troubleOf(error) === "its disk is full")
    return "The disk of the database is full; make room, then run this again";
  return undefined;
}

/** Refused connections come as an AggregateError, whose own message is empty. */
function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join("; ");
  if (error instanceof Error) return error.message;
  return typeof error === "object" ? inspect(error, { breakLength: Number.POSITIVE_INFINITY }) : String(error);
}

// A reader that has seen enough (`perch migrate sql | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit();
});

const args = process.argv.slice(2);
main(args)
  .catch((error: unknown) => report(error, args))
  .then((code) => {
    process.exitCode = code;
  });
