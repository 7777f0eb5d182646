/** The order of locks (docs/architecture.md), kept by each function against each: real connections, held where they would meet. */
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Database, Queryable, Transaction } from "../../src/database/types.js";
import { asTenant, freshTenant } from "../checkpoints/support.js";
import { declare, eventually, freshId } from "../documents/live/support.js";
import { describeEachPostgres, type TestDatabase } from "../support/databases.js";

/** A transaction that is run step by step. */
interface Session {
  readonly pid: number;
  run<Row>(sql: string, params?: unknown[]): Promise<Row[]>;
  end(): Promise<void>;
}

describeEachPostgres("locks", (open) => {
  let t: TestDatabase;
  const sessions: Session[] = [];

  beforeEach(async () => {
    t = await open();
    await declare(t);
  });
  afterEach(async () => {
    await Promise.allSettled(sessions.splice(0).map((session) => session.end()));
  });

  async function session(role: "perch_app" | "perch_worker", userId = "ada"): Promise<Session> {
    let tx: Transaction | undefined;
    let release = (): void => undefined;
    const begun = new Promise<void>((resolve) => {
      const ended = t.db.transaction(async (inner) => {
        tx = inner;
        await inner.query(`set local role ${role}`);
        if (role === "perch_app") await inner.query("select perch.set_context(user_id => $1)", [userId]);
        await new Promise<void>((done) => {
          release = done;
          resolve();
        });
      });
      sessions.push({ pid: 0, run: async () => [], end: () => ended });
    });
    await begun;
    const ended = sessions.pop()?.end() ?? Promise.resolve();
    const open = tx as unknown as Transaction;
    const [row] = await open.query<{ pid: number }>("select pg_backend_pid() as pid");
    const made: Session = {
      pid: row?.pid ?? 0,
      run: (sql, params) => open.query(sql, params),
      end: async () => {
        release();
        await ended;
      },
    };
    sessions.push(made);
    return made;
  }

  /** For a lock, or (Timeout) asleep before it looks again. */
  async function waits(db: Queryable, pid: number, what = "Lock"): Promise<boolean> {
    const rows = await db.query("select from pg_stat_activity where pid = $1 and wait_event_type = $2", [pid, what]);
    return rows.length > 0;
  }

  const patchSql = (id: string) =>
    `select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => '${id}', patch => '{"title": "x"}')`;
  const deleteSql = (id: string) =>
    `select perch.delete_document(app_id => 'notes', table_name => 'pages', record_id => '${id}')`;
  const pushSql = `select perch.push(app_id => 'notes', client_id => 'c', changes => '[{"op": "insert", "table": "tasks", "id": "t", "data": {}}]')`;
  const address = (id: string) => `space_id => '~ada', app_id => 'notes', table_name => 'pages', record_id => '${id}'`;
  const claimSql = (id: string) => `select * from perch.claim_inbox(${address(id)})`;
  const finishSql = (id: string, seq: number, error: string | null = null) =>
    `select perch.finish_inbox(${address(id)}, seq => ${seq}, update => ${error ? "null" : "'\\x01'"}, error => ${error ? `'${error}'` : "null"}) as placed`;
  const projectSql = (id: string, seq: number) =>
    `select * from perch.project_document(${address(id)}, seq => ${seq}, data => '{"title": "x"}', size => 14)`;
  const foldSql = (id: string, seq: number) =>
    `select perch.fold_document(${address(id)}, snapshot => '\\x02', seq => ${seq}) as folded`;

  /** A document whose first patch is merged, not projected. */
  async function merged(id: string): Promise<void> {
    await t.asUser("ada", (tx) => tx.query(patchSql(id)));
    await t.asWorker(async (tx) => {
      await tx.query(claimSql(id));
      await tx.query(finishSql(id, 1));
    });
  }

  async function expectEach<T>(work: Promise<T>[]): Promise<void> {
    const failed = (await Promise.allSettled(work)).flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
    expect(failed.map(({ code, message }) => `${code} ${message}`)).toEqual([]);
  }

  const shuffled = <T>(values: readonly T[]): T[] =>
    values
      .map((value) => ({ value, at: Math.random() }))
      .sort((a, b) => a.at - b.at)
      .map(({ value }) => value);

  it("let pushes of the same documents through, new, deleted and made again, in whatever order each names them", async () => {
    await t.asUser("ada", async (tx) => {
      for (const space of ["team", "crew"]) await tx.query("select perch.create_space(space_id => $1)", [space]);
    });
    const writers = await Promise.all(Array.from({ length: 6 }, () => t.connect()));
    await expectEach(
      writers.map(async (db) => {
        for (let round = 0; round < 6; round++) {
          const changes = shuffled(
            ["a", "b", "c", "d"].flatMap((id) =>
              ["team", "crew"].flatMap((space_id) => [
                { op: "update", table: "pages", id: `${id}${round}`, space_id, data: { title: "x" } },
                { op: "delete", table: "pages", id, space_id },
                { op: "insert", table: "pages", id, space_id, data: { title: "y" } },
                { op: "insert", table: "tasks", id: `${id}${round}`, space_id, data: {} },
              ]),
            ),
          );
          const results = await asAda(db, (tx) =>
            tx.query<{ r: { results: { status: string }[] } }>(
              "select perch.push(app_id => 'notes', client_id => 'c', changes => $1::jsonb) as r",
              [JSON.stringify(changes)],
            ),
          );
          expect(new Set(results[0]?.r.results.map(({ status }) => status))).toEqual(new Set(["applied"]));
        }
      }),
    );
  });

  it("keep the changes of one document in their order, whatever else the push names", async () => {
    const id = freshId();
    await t.asUser("ada", (tx) => tx.query(patchSql(id)));
    const push = (ops: string[]) =>
      t.asUser("ada", async (tx) => {
        const changes = ops.flatMap((op, n) => [
          { op, table: "pages", id, ...(op !== "delete" && { data: { title: `${n}` } }) },
          { op: "update", table: "pages", id: freshId(), data: { title: "z" } },
        ]);
        const [row] = await tx.query<{ r: { results: { status: string; seq: number }[] } }>(
          "select perch.push(app_id => 'notes', client_id => 'c', changes => $1::jsonb) as r",
          [JSON.stringify(changes)],
        );
        return row?.r.results.filter((_, n) => n % 2 === 0);
      });
    expect(await push(["update", "delete", "insert"])).toMatchObject([{ seq: 2 }, { seq: 3 }, { seq: 4 }]);
    const kept = () => t.db.query("select head_seq, incarnation_seq from perch.documents where record_id = $1", [id]);
    expect(await kept()).toEqual([{ head_seq: 4, incarnation_seq: 3 }]);
    expect(await push(["delete"])).toMatchObject([{ seq: 5 }]);
    expect(await kept()).toEqual([]);
  });

  it("let a document be deleted while a worker merges its inbox", async () => {
    const id = freshId();
    await t.asUser("ada", (tx) => tx.query(patchSql(id)));
    const worker = await session("perch_worker");
    expect(await worker.run(claimSql(id))).toHaveLength(1);
    await t.asUser("ada", (tx) => tx.query(deleteSql(id)));
    expect(await worker.run(finishSql(id, 1))).toEqual([{ placed: null }]);
    await worker.end();

    const set = freshId();
    await t.asUser("ada", (tx) => tx.query(patchSql(set)));
    await t.asUser("ada", (tx) => tx.query(patchSql(set)));
    const second = await session("perch_worker");
    expect(await second.run(claimSql(set))).toHaveLength(2);
    const app = await session("perch_app");
    await app.run(patchSql(set));
    // What is set aside first waits for the document, too, with none of its items in hand.
    const aside = second.run(finishSql(set, 1, '{"code": "PE422"}'));
    await eventually(() => waits(t.db, second.pid));
    await app.run(deleteSql(set));
    await app.end();
    expect(await aside).toEqual([{ placed: null }]);
    expect(await second.run(finishSql(set, 2))).toEqual([{ placed: null }]);
  });

  it("give one worker at a time the inbox of a document, and tell the others at once", async () => {
    const id = freshId();
    await t.asUser("ada", (tx) => tx.query(patchSql(id)));
    for (let round = 0; round < 2; round++) {
      const [first, second] = [await session("perch_worker"), await session("perch_worker")];
      expect(await first.run(claimSql(id))).toHaveLength(1);
      expect(await second.run(claimSql(id))).toEqual([]);
      expect(await second.run("show lock_timeout")).toEqual([{ lock_timeout: "0" }]);
      await first.end();
      expect(await second.run(claimSql(id))).toHaveLength(1);
      await second.end();
    }
  });

  it("let an app push and then edit a document, though its record is due: the worker waits for no counter", async () => {
    const id = freshId();
    await merged(id);
    const app = await session("perch_app");
    await app.run(pushSql);
    const worker = await session("perch_worker");
    expect(await worker.run(projectSql(id, 1))).toMatchObject([{ logged_seq: null }]);
    await worker.end();
    await app.run(patchSql(id));
    await app.run(deleteSql(freshId()));
    await app.end();
    const [record] = await t.asUser("ada", (tx) =>
      tx.query("select data from perch.records where record_id = $1", [id]),
    );
    expect(record).toEqual({ data: { title: "x" } });
  });

  it("let an app edit a document and then push, though its record is due", async () => {
    const id = freshId();
    await merged(id);
    const [app, other, worker] = [
      await session("perch_app"),
      await session("perch_app"),
      await session("perch_worker"),
    ];
    await other.run(pushSql);
    await app.run(patchSql(id));
    const projected = worker.run(projectSql(id, 1));
    await eventually(() => waits(t.db, worker.pid));
    // It waits for the document, and holds nothing that is wanted here.
    await other.end();
    await app.run(pushSql);
    await app.end();
    expect(await projected).toHaveLength(1);
    await worker.end();
  });

  it("let an app edit and delete a document while its tail is folded", async () => {
    const id = freshId();
    await merged(id);
    const app = await session("perch_app");
    await app.run(patchSql(id));
    const worker = await session("perch_worker");
    const folded = worker.run(foldSql(id, 1));
    const refused = expect(folded).rejects.toMatchObject({ code: "55P03" });
    await eventually(() => waits(t.db, worker.pid, "Timeout"));
    await app.run(deleteSql(id));
    await refused;
    await worker.end().catch(() => undefined);
    await app.end();
  });

  it("let tasks that run side by side write the same long values, in whatever order each has them", async () => {
    const tenant = freshTenant();
    const long = (letter: string) => JSON.stringify(letter.repeat(1_000));
    const values = shuffled([
      ...["a", "b", "c", "d", "e", "f"].map(long),
      `[${["a", "b", "g", "h"].map((letter) => JSON.stringify(letter.repeat(5_000))).join(",")}]`,
      ...["a", "b", "g"].map((letter) => JSON.stringify(letter.repeat(5_000))),
    ]);
    const writers = await Promise.all(Array.from({ length: 5 }, () => t.connect()));
    await expectEach(
      writers.map(async (db, task) => {
        for (let round = 0; round < 20; round++) {
          await asTenant({ ...t, db }, tenant, (tx) =>
            putWrites(tx, `thread-${round}`, `task-${task}`, shuffled(values)),
          );
        }
      }),
    );
    const kept = await asTenant(t, tenant, (tx) =>
      tx.query<{ n: number }>(
        "select count(*)::int as n from perch.load_channels(tenant_id => null, thread_id => 'thread-0', namespace => '')",
      ),
    );
    expect(kept).toHaveLength(1);
  });
});

function asAda<T>(db: Database, work: (tx: Transaction) => Promise<T>): Promise<T> {
  return db.transaction(async (tx) => {
    await tx.query("set local role perch_app");
    await tx.query("select perch.set_context(user_id => 'ada')");
    return work(tx);
  });
}

async function putWrites(tx: Transaction, thread: string, task: string, values: readonly string[]): Promise<void> {
  const bytes = values.map((value) => Buffer.from(value));
  let next = 1;
  const starts = bytes.map(({ length }) => {
    next += length;
    return next - length;
  });
  await tx.query(
    `select perch.put_writes(tenant_id => null, thread_id => $1, namespace => '', checkpoint_id => $2, task_id => $3,
       idxs => $4, channels => $5, types => $6, starts => $7, sizes => $8, payload => $9)`,
    [
      thread,
      "00000000-0000-7000-8000-000000000001",
      task,
      values.map((_, n) => n),
      values.map((_, n) => `c${n}`),
      values.map(() => null),
      starts,
      bytes.map(({ length }) => length),
      Buffer.concat(bytes),
    ],
  );
}
