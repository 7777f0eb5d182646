/**
 * Everything but LISTEN through a transaction-pooling proxy. Always through our own, which never gives a client the same server
 * connection twice in a row; and through PgBouncer where it is installed (`apt install pgbouncer`).
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { CheckpointStore, withContext } from "../../src/index.js";
import { emptyDatabase, postgres, type TestDatabase } from "../support/databases.js";
import { runPerch } from "../support/processes.js";
import { type Pooler, pgBouncerBinary, startPgBouncer, startTransactionPooler } from "../support/transaction-pooler.js";
import {
  acknowledged,
  asLogin,
  expectAllEqual,
  expectNothingLost,
  keepEditing,
  openEditors,
  openQuietly,
  prepare,
  readiness,
  typed,
  until,
} from "./support.js";

if (pgBouncerBinary() === undefined) {
  console.warn("pgbouncer is not installed here: pooling is tested with the tests' own proxy only");
}

type Start = (port: number, users: readonly string[]) => Promise<Pooler>;
const poolers: [string, Start][] = [["the tests' own proxy", (port) => startTransactionPooler(port)]];
if (pgBouncerBinary() !== undefined) poolers.push(["PgBouncer", (port, users) => startPgBouncer(port, users)]);

const users = ["pia", "pam", "pit"];

describe.each(poolers)("behind %s", (_, start) => {
  const open = postgres();
  const ends: (() => unknown)[] = [];
  let t: TestDatabase;
  let direct: string;
  let pooled: string;
  let pooler: Pooler;
  let login: string;

  beforeAll(async () => {
    t = await open();
    login = await prepare(t.db, users);
    pooler = await start(Number(new URL(t.url ?? "").port), ["postgres", login]);
    direct = asLogin(t.url ?? "", login);
    pooled = pooler.url(direct);
  });
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  afterAll(() => pooler?.close());

  async function worker(env: Record<string, string>) {
    const process = await perchProcess({ args: ["worker"], env: { DATABASE_URL: pooled, ...env } });
    ends.push(() => process.kill());
    await process.start();
    return process;
  }

  it("two nodes that listen on the direct URL serve editors, SQL callers and readers of records", async () => {
    const nodes = [await worker({ PERCH_LISTEN_URL: direct }), await worker({ PERCH_LISTEN_URL: direct })];
    const editors = [
      ...(await openEditors(nodes[0]?.url ?? "", users.slice(0, 2))),
      ...(await openEditors(nodes[1]?.url ?? "", users.slice(2))),
    ];
    for (const editor of editors) ends.push(() => editor.close());
    const stop = keepEditing(editors);
    const db = openQuietly(pooled);
    ends.push(() => db.close());
    // Many at once, on fewer server connections than there are: nobody may act under another's name.
    const titles = await Promise.all(
      Array.from({ length: 24 }, (_, n) =>
        withContext(db, { userId: users[n % users.length] ?? "" }, async (tx) => {
          await tx.query(
            `select perch.patch_document(app_id => 'faults', table_name => 'boards', record_id => 'b1', space_id => 'team',
                                         patch => jsonb_build_object('votes', 1))`,
          );
          const [row] = await tx.query<{ user_id: string }>("select perch.current_user_id() as user_id");
          return row?.user_id;
        }),
      ),
    );
    expect(titles).toEqual(Array.from({ length: 24 }, (_, n) => users[n % users.length]));
    await until(() => acknowledged(editors) > 60, "sixty edits are acknowledged");
    await stop();
    await until(() => acknowledged(editors) === typed(editors), "all edits are acknowledged");
    await expectNothingLost(t.db, editors);
    await expectAllEqual(t.db, editors);
    await until(async () => {
      const [row] = await t.db.query<{ count: number }>("select count(*) as count from perch.document_inbox");
      return row?.count === 0;
    }, "what SQL pushed is merged");
    for (const { httpUrl } of nodes) await until(async () => (await readiness(httpUrl)).status === 200, "it is ready");
    const outside = await t.db.query<{ user_id: string | null }>("select perch.current_user_id() as user_id");
    expect(outside).toEqual([{ user_id: null }]);
  });

  it("migrating, restoring and saving agents' states work through it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "perch-pooled-"));
    ends.push(() => rm(folder, { recursive: true }));
    const fresh = await emptyDatabase();
    const url = pooler.url(fresh);
    const perch = async (...args: string[]) => {
      const { code, stdout, stderr } = await runPerch([...args, "--database-url", url], { cwd: folder });
      expect(code, stderr).toBe(0);
      return stdout;
    };
    await perch("migrate");
    expect(await perch("migrate", "status")).toContain("up to date");

    const db = openQuietly(url);
    ends.push(() => db.close());
    await withContext(db, { userId: "ann" }, (tx) =>
      tx.query("select perch.push('app', $1, 'device')", [
        JSON.stringify([{ op: "insert", table: "tasks", id: "t1", data: { title: "Buy milk" } }]),
      ]),
    );
    await perch("export", "--user", "ann", "--out", "ann.perch");
    expect(await perch("import", "ann.perch", "--user", "ben")).toContain("restored 1 changes");

    const store = new CheckpointStore({ db, tenantId: "agents", schema: z.object({ step: z.number() }) });
    const ids = [];
    for (let step = 1; step <= 5; step++) ids.push(await store.put("run", { state: { step }, step }));
    expect((await store.latest("run"))?.id).toBe(ids.at(-1));
  });

  it("perch doctor says that notifications are not heard, until it is told where to listen", async () => {
    const doctor = (env: Record<string, string>) =>
      runPerch(["doctor", "--database-url", pooler.url(t.url ?? "")], { env });
    const [deaf, hearing] = await Promise.all([doctor({}), doctor({ PERCH_LISTEN_URL: t.url ?? "" })]);
    expect(deaf.code).toBe(1);
    expect(deaf.stdout).toMatch(/^error +notifications: .*\n +→ .*PERCH_LISTEN_URL$/m);
    expect(hearing.stdout).toMatch(/^ok +notifications/m);
    // The tests' servers do not wait for the disk.
    expect(hearing.stdout.match(/^error +[^:]*/gm)).toEqual(["error    durability"]);
  });
});

describe.runIf(pgBouncerBinary() !== undefined)("PgBouncer that pools statements", () => {
  const open = postgres();
  it("is said to be what is wrong, by every command", async () => {
    const t = await open();
    const pooler = await startPgBouncer(Number(new URL(t.url ?? "").port), ["postgres"], 3, "statement");
    try {
      for (const command of [["doctor"], ["migrate", "status"]]) {
        const result = await runPerch([...command, "--database-url", pooler.url(t.url ?? "")]);
        expect(result.code).toBe(1);
        expect(result.stderr).toMatch(/statement pooling.*pool_mode = transaction/);
      }
    } finally {
      await pooler.close();
    }
  });
});
