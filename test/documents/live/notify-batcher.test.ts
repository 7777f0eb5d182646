import { expect, it, vi } from "vitest";
import type { Database, Queryable } from "../../../src/database/types.js";
import { createNotifyBatcher } from "../../../src/documents/live/notify-batcher.js";
import { describeBothKinds, postgres } from "../../support/databases.js";
import { lockWaiters } from "../../support/locks.js";
import { underWay } from "../../support/until.js";
import { cleanup, connect, declare, eventually, freshId, keyOf, pause, startNode, storedText } from "./support.js";

/** What the database answers to a statement that it has undone. */
const undone = Object.assign(new Error("out of memory"), { code: "53200" });

/** The positions that notifications on perch_documents tell of, by record. */
async function listen(db: Database): Promise<{ id: string; seq: number }[]> {
  const heard: { id: string; seq: number }[] = [];
  const subscription = await db.listen(["perch_documents"], {
    notify: (_channel, payload) => heard.push(JSON.parse(payload)),
    ready: () => undefined,
  });
  cleanup(() => subscription.close());
  return heard;
}

describeBothKinds("the notifications of appends", (open) => {
  it("come with the first append after a pause", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const heard = await listen(t.db);
    const client = await connect(node, keyOf(freshId()));
    const { recordId } = client.document.key;
    node.db.counted();
    await client.type("a");
    // A pause is what it is about: longer than the 25 ms in which appends follow each other.
    await pause(100);
    await client.type("b");
    expect(node.db.counted().notify_appends).toBeUndefined();
    await eventually(() => heard.length === 2);
    expect(heard).toMatchObject([
      { v: 1, space_id: "~ada", app_id: "notes", table: "pages", id: recordId, seq: 1 },
      { id: recordId, seq: 2 },
    ]);
  });

  it("tell of the last while appends follow each other", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const heard = await listen(t.db);
    const clients = await Promise.all([1, 2, 3].map(() => connect(node, keyOf(freshId()))));
    await Promise.all(
      clients.map(async (client) => {
        for (let count = 0; count < 60; count++) await client.type("x");
      }),
    );
    for (const { document } of clients) {
      await eventually(() => heard.some(({ id, seq }) => id === document.key.recordId && seq === 60));
    }
  });

  it("travel with a later append, and come also when that transaction fails, which is nobody's loss", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const heard = await listen(t.db);
    const [first, second] = await Promise.all([connect(node, keyOf(freshId())), connect(node, keyOf(freshId()))]);
    const tells = ({ document }: typeof first) =>
      eventually(() => heard.some(({ id, seq }) => id === document.key.recordId && seq === document.position));
    let failed = false;
    while (!failed) {
      // The second of these is notified of by whatever comes next; that is made to be the third. After a failure none carries for a second.
      await pause(50);
      await first.type("a");
      await first.type("b");
      await pause(26);
      void node.db.hold(/notify_appends.*append_updates/s, "before").then(() => {
        failed = true;
        node.db.go(undone);
      });
      await second.type("c");
      node.db.go();
    }
    await tells(first);
    await tells(second);
  });

  it("fail no append when the database takes no notification", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const client = await connect(node, keyOf(freshId()));
    await client.type("a");
    await t.db.transaction((tx) =>
      tx.script(`
        alter function perch.document_notification(text, text, text, text, bigint) rename to document_notification_before;
        create function perch.document_notification(text, text, text, text, bigint) returns text language plpgsql as $$
          begin raise 'too many notifications in the NOTIFY queue' using errcode = '54000'; end $$;
        grant execute on function perch.document_notification(text, text, text, text, bigint) to perch_worker`),
    );
    for (const letter of "bcdef") {
      await client.type(letter);
      // So that each notifies for itself.
      await pause(30);
    }
    expect(await storedText(node.db, client.document.key)).toBe("abcdef");
  });

  it("come also when notifying failed at first, and when the node closes meanwhile", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const heard = await listen(t.db);
    const client = await connect(node, keyOf(freshId()));
    const tells = (seq: number) => eventually(() => heard.some((notification) => notification.seq === seq));
    let cut = false;
    void node.db.hold(/^\s*select perch\.notify_appends/, "before").then(() => {
      cut = true;
    });
    // On a slow machine the second may come late enough to notify for itself.
    while (!cut) {
      await client.type("a");
      await client.type("b");
      await pause(40);
    }
    node.db.go(new Error("the line is cut"));
    await tells(client.document.position);
    await client.type("c");
    const { seq } = await client.type("d");
    client.leave();
    await node.live.close();
    await tells(seq);
  });
});

it("one append in 25 ms notifies, for itself and all before it, and a statement for what comes behind the last", async () => {
  // By a clock of its own: on a slow machine an append takes longer than that.
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  cleanup(() => vi.useRealTimers());
  const notified: unknown[] = [];
  const query = async (_sql: string, params: readonly unknown[] = []) => {
    notified.push(params.at(-1));
    return [];
  };
  const notifyBatcher = createNotifyBatcher({ query: query as Queryable["query"] });
  const carried: (number | undefined)[] = [];
  for (let seq = 1; seq <= 180; seq++) {
    const carry = notifyBatcher.carry();
    if (carry) {
      carried.push(carry[0]?.seq);
      notifyBatcher.carried(true);
    } else notifyBatcher.owe([{ key: keyOf("d"), seq }]);
    await vi.advanceTimersByTimeAsync(1);
  }
  expect(carried).toEqual([undefined, 25, 50, 75, 100, 125, 150, 175]);
  expect(notified).toEqual([]);
  await vi.advanceTimersByTimeAsync(30);
  expect(notified).toEqual([[180]]);
});

const onPostgres = postgres();

it("notifications wait for nobody's lock", async () => {
  const t = await onPostgres();
  await declare(t);
  const worker = await t.login("perch_worker");
  /** How often somebody has given up waiting for a lock. */
  let gaveUp = 0;
  const query: Database["query"] = (sql, params, how) =>
    worker.query(sql, params, how).catch((error: { code?: string }) => {
      gaveUp += Number(error.code === "55P03");
      throw error;
    }) as Promise<never>;
  const node = await startNode(t, { db: { ...worker, query } });
  const [free, locked] = await Promise.all([connect(node, keyOf(freshId())), connect(node, keyOf(freshId()))]);
  await locked.type("a");
  const heard: { seq: number; gaveUp: number }[] = [];
  const subscription = await t.db.listen(["perch_documents"], {
    notify(_channel, payload) {
      const { id, seq } = JSON.parse(payload);
      if (id === free.document.key.recordId) heard.push({ seq, gaveUp });
    },
    ready: () => undefined,
  });
  cleanup(() => subscription.close());
  let waiting: Promise<unknown> | undefined;
  await t.db.transaction(async (tx) => {
    await tx.query("select from perch.documents where record_id = $1 for update", [locked.document.key.recordId]);
    waiting = underWay(locked.type("b"));
    await lockWaiters(t.db);
    /** Of those typed while somebody waited for the lock, the ones that were told of before he gave up: all, but for where that was then. */
    let meanwhile = 0;
    await eventually(async () => {
      const before = gaveUp;
      await free.type("x");
      const { seq } = await free.type("y");
      const told = await eventually(() => heard.find((one) => one.seq >= seq));
      meanwhile += Number(told.gaveUp === before);
      return meanwhile >= 10;
    }, "ten notifications beside one wait for the lock each");
  });
  await waiting;
});
