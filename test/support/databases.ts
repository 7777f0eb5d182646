/**
 * Migrated databases for tests, on every engine perch supports.
 *
 *   describeEachEngine("push", (open) => {
 *     it("takes one change", async () => {
 *       const t = await open();                                  // a fresh migrated database, closed after the test
 *       await t.asUser("ada", (tx) => tx.query("select perch.push(…)"));
 *     });
 *   });
 *
 * `describeEachEngine`    a suite on PGlite, on Postgres 18 and, where it is installed, on Postgres 15
 * `describeEachPostgres`  the same without PGlite: for what needs several connections
 * `describeSomePostgres`  on one version of Postgres, which is drawn: for long suites
 * `describeBothKinds`     on PGlite and Postgres 18: for what is made of TypeScript
 * `postgres()`            opens databases on Postgres 18 inside any suite; `pglite()` the same on PGlite
 * `emptyDatabase()`       a database nobody has migrated, on Postgres
 *
 * Of a TestDatabase, `db` is the superuser (who under perch's policies sees no more than others do through the API). Servers
 * start when the first test asks for one, once a run. What is opened outside a test (in beforeAll) is closed after the suite.
 * Not for concurrent tests, in which nobody knows whose database is whose. To kill or restart a server, make your own with postgres-server.ts.
 */
import { randomBytes, randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import pg from "pg";
import { afterAll, describe, inject, onTestFinished, TestRunner } from "vitest";
import { openPglite, type PgliteDatabase } from "../../src/database/pglite.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database, Subscription, Transaction } from "../../src/database/types.js";
import { type PostgresVersion, postgresBinaries } from "./postgres-server.js";
import { remember } from "./rewind.js";
import { templateName } from "./templates.js";
import { warmUp } from "./warm-up.js";

export type EngineName = "PGlite" | "Postgres 18" | "Postgres 15";

/** A role that a login can be made a member of; "stranger" is a member of none. */
export type LoginRole = "perch_owner" | "perch_app" | "perch_worker" | "stranger";

export interface TestDatabase {
  readonly engine: EngineName;
  /** As superuser. */
  readonly db: Database;
  /** The superuser's URL; undefined on PGlite. */
  readonly url: string | undefined;
  /** A transaction with the rights of perch_app, as that user: `set local role` and `perch.set_context`. */
  asUser<T>(userId: string, work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** A transaction with the rights of perch_worker. */
  asWorker<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** A new login with a role granted, connected. On PGlite the one session takes its identity for each query. */
  login(role: LoginRole): Promise<Database>;
  /** Another pool on the same database, as superuser. PGlite has but one session, which is what it hands out. */
  connect(): Promise<Database>;
  /** Called for you after the test or the suite in which it was opened. */
  close(): Promise<void>;
}

export type Open = () => Promise<TestDatabase>;

const postgresVersions: PostgresVersion[] = [18, 15];
const installed = postgresVersions.filter((version) => postgresBinaries(version) !== undefined);

/** Runs a suite once for every engine. */
export function describeEachEngine(name: string, suite: (open: Open, engine: EngineName) => void): void {
  describe(`${name} on PGlite`, () => suite(pglite(), "PGlite"));
  describeEachPostgres(name, suite);
}

/**
 * Runs a suite on PGlite and on the newest Postgres: for what is made of TypeScript and calls SQL that has suites of its own on every
 * engine.
 */
export function describeBothKinds(name: string, suite: (open: Open, engine: EngineName) => void): void {
  describe(`${name} on PGlite`, () => suite(pglite(), "PGlite"));
  describe(`${name} on Postgres 18`, () => suite(postgres(18), "Postgres 18"));
}

/** Runs a suite once for every version of Postgres on this machine. */
export function describeEachPostgres(name: string, suite: (open: Open, engine: EngineName) => void): void {
  for (const version of installed) {
    describe(`${name} on Postgres ${version}`, () => suite(postgres(version), `Postgres ${version}` as EngineName));
  }
}

/** A version of Postgres, drawn for each file that asks; `TEST_POSTGRES=15` in the environment chooses it. For servers of a test's own. */
export function somePostgres(): PostgresVersion {
  return Number(process.env.TEST_POSTGRES ?? installed[randomInt(installed.length)]) as PostgresVersion;
}

/**
 * Runs a suite on one version of Postgres, which its name says, drawn as `somePostgres` does. For what takes long: how it came out on either is
 * seen within a few runs.
 */
export function describeSomePostgres(name: string, suite: (open: Open, engine: EngineName) => void): void {
  const chosen = somePostgres();
  describe(`${name} on Postgres ${chosen}`, () => suite(postgres(chosen), `Postgres ${chosen}` as EngineName));
}

/** Opens databases on Postgres; call it in a `describe` or at the top of a file, which closes what is left open. */
export function postgres(version: PostgresVersion = 18): Open {
  return closing(() => openOnPostgres(version));
}

/** Opens databases on PGlite; call it in a `describe` or at the top of a file, which closes what is left open. */
export function pglite(): Open {
  return closing(openOnPglite);
}

/** Makes a database without anything in it. Out: its superuser's URL. It goes with the server. */
export async function emptyDatabase(version: PostgresVersion = 18): Promise<string> {
  return createDatabase(await template(String(version)), "template0");
}

function closing(open: Open): Open {
  const opened: TestDatabase[] = [];
  afterAll(async () => {
    await Promise.all(opened.map((database) => database.close()));
  });
  return async () => {
    const inTest = TestRunner.getCurrentTest() !== undefined;
    const database = await open();
    // A dozen of PGlite's databases hold a gigabyte, so they do not wait for the end of the suite.
    if (inTest) onTestFinished(() => database.close());
    else opened.push(database);
    return database;
  };
}

/** What is made once a run, for all test files: see templates.ts. */
export async function template(what: string): Promise<string> {
  const response = await fetch(inject("templatesUrl") + what);
  const answer = await response.text();
  if (!response.ok) throw new Error(`cannot prepare ${what}: ${answer}`);
  return answer;
}

const freshName = (prefix: string) => `${prefix}_${randomBytes(6).toString("hex")}`;

/** Connections that make databases and drop them, one for each server: a connection costs the server as much as making a database does. */
const admins = new Map<string, Promise<pg.Client>>();

async function connectAdmin(serverUrl: string): Promise<pg.Client> {
  const admin = new pg.Client({ connectionString: serverUrl });
  // Its server ends with the run, and before this process does.
  admin.on("error", () => admins.delete(serverUrl));
  await admin.connect();
  (admin as unknown as { connection: { stream: Socket } }).connection.stream.unref();
  return admin;
}

async function administer(serverUrl: string, statement: string): Promise<void> {
  const connecting = admins.get(serverUrl) ?? connectAdmin(serverUrl);
  admins.set(serverUrl, connecting);
  const admin = await connecting.catch((error: unknown) => {
    // Whoever asks next tries again.
    admins.delete(serverUrl);
    throw error;
  });
  await admin.query(statement);
}

/** Copied as files, which takes a quarter of what it takes page by page through the log, and is dropped as fast. */
async function createDatabase(serverUrl: string, from: string): Promise<string> {
  const name = freshName("test");
  await administer(serverUrl, `create database ${name} template ${from} strategy file_copy`);
  return withPath(serverUrl, name);
}

function withPath(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}

const createLogin = async (db: Database, role: LoginRole): Promise<string> => {
  const name = freshName(role);
  await db.query(`create role ${name} login`);
  if (role !== "stranger") await db.query(`grant ${role} to ${name}`);
  return name;
};

/** Transactions of `db` that begin by taking a role. */
const inRole = (db: Database, role: string) => ({
  run: <T>(work: (tx: Transaction) => Promise<T>, context?: string): Promise<T> =>
    db.transaction(async (tx) => {
      await tx.query(`set local role ${role}`);
      if (context !== undefined) await tx.query("select perch.set_context(user_id => $1)", [context]);
      return work(tx);
    }),
});

const shared = (db: Database) => ({
  asUser: <T>(userId: string, work: (tx: Transaction) => Promise<T>) => inRole(db, "perch_app").run(work, userId),
  asWorker: <T>(work: (tx: Transaction) => Promise<T>) => inRole(db, "perch_worker").run(work),
});

async function openOnPostgres(version: PostgresVersion): Promise<TestDatabase> {
  const serverUrl = await template(String(version));
  const url = await createDatabase(serverUrl, templateName);
  const pools: Database[] = [];
  const pool = (as?: string) => {
    const address = new URL(url);
    if (as !== undefined) address.username = as;
    const opened = openPostgres({ url: address.href });
    pools.push(opened);
    return opened;
  };
  const db = pool();
  return {
    engine: `Postgres ${version}` as EngineName,
    db,
    url,
    ...shared(db),
    login: async (role) => pool(await createLogin(db, role)),
    connect: async () => pool(),
    async close() {
      await Promise.all(pools.map((opened) => opened.close()));
      await administer(serverUrl, `drop database if exists ${new URL(url).pathname.slice(1)} with (force)`);
    },
  };
}

/** The one session of PGlite, going by another login's name in each transaction. */
function goingBy(db: Database, login: string): Database {
  const transaction = <T>(work: (tx: Transaction) => Promise<T>) =>
    db.transaction(async (tx) => {
      await tx.query(`set local session authorization ${login}`);
      return work(tx);
    });
  return {
    ...db,
    query: (sql, params) => transaction((tx) => tx.query(sql, params)),
    transaction,
    close: async () => undefined,
  };
}

let made: Promise<string> | undefined;

async function image(): Promise<Uint8Array> {
  made ??= template("pglite");
  return readFile(await made);
}

/** A database of PGlite that can be as new again. */
interface Reusable {
  readonly db: PgliteDatabase;
  readonly setBack: () => Promise<boolean>;
}

/** Those that nobody uses just now. Opening one takes half a second of the processor, setting it back a fiftieth of that. */
const reusable: Reusable[] = [];
/** Each holds some fifty megabytes. */
const reusableAtMost = 4;
/** What a test left under way has so long to end; then the database goes with it. */
const idleWithinMs = 5_000;

async function makeReusable(): Promise<Reusable> {
  const db = await openPglite({ template: { image } });
  await warmUp(db);
  return { db, setBack: await remember(db.client) };
}

async function putBack(used: Reusable): Promise<void> {
  const { db, setBack } = used;
  const isIdle = () => db.stats().idle === 1;
  for (let waited = 0; !isIdle() && waited < idleWithinMs; waited += 10)
    await new Promise((done) => setTimeout(done, 10));
  if (isIdle() && reusable.length < reusableAtMost && (await setBack()) && (await answers(db))) reusable.push(used);
  else await db.close();
}

/** An engine that was aborted, by a panic or a trap, answers nothing any more, whatever is in its memory. */
const answers = (db: Database): Promise<boolean> =>
  db.query("select").then(
    () => true,
    () => false,
  );

/** A database for one test. In: what happens when it is closed: from then on it is somebody else's, and nothing of the test's may reach it. */
function lend(db: PgliteDatabase, onClosed: () => Promise<void>): PgliteDatabase {
  const subscriptions: Subscription[] = [];
  let closing: Promise<void> | undefined;
  const whileOpen = <T>(work: () => Promise<T>): Promise<T> =>
    closing === undefined ? work() : Promise.reject(new Error("PGlite is closed"));
  const close = () => {
    closing ??= Promise.all(subscriptions.map((subscription) => subscription.close())).then(onClosed);
    return closing;
  };
  return {
    ...db,
    query: (...asked) => whileOpen(() => db.query(...asked)),
    aside: { query: (...asked) => whileOpen(() => db.aside.query(...asked)) },
    transaction: (work) => whileOpen(() => db.transaction(work)),
    image: () => whileOpen(() => db.image()),
    listen: (channels, on) =>
      whileOpen(async () => {
        const subscription = await db.listen(channels, on);
        subscriptions.push(subscription);
        return subscription;
      }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function openOnPglite(): Promise<TestDatabase> {
  const used = reusable.pop() ?? (await makeReusable());
  const db = lend(used.db, () => putBack(used));
  return {
    engine: "PGlite",
    db,
    url: undefined,
    ...shared(db),
    async login(role) {
      // PGlite starts without this setting having a value, so there would be none to return to after a transaction.
      await db.query("set session authorization postgres");
      return goingBy(db, await createLogin(db, role));
    },
    connect: async () => ({ ...db, close: async () => undefined }),
    close: () => db.close(),
  };
}
