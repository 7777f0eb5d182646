import { describe, expect, it } from "vitest";
import {
  type Client,
  connect,
  declare,
  eventually,
  freshId,
  keyOf,
  pause,
  storedText,
} from "../documents/live/support.js";
import { describeBothKinds, postgres } from "../support/databases.js";
import { inbox, patchDocument, pushUpdate, record, replica, startWorkerNode } from "./support.js";

describeBothKinds("the worker's projections", (open) => {
  it("show small documents in their records within 250 ms, and log which fields changed", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t);
    const key = keyOf(freshId());
    const client = await connect(node, key);
    await client.type("warm");
    await eventually(async () => (await record(t.db, key))?.body === "warm");
    const lags: number[] = [];
    // The least of as many as this machine needs: what else it does makes one longer, and never shorter.
    while (lags.length < 5 || (Math.min(...lags) >= 250 && lags.length < 60)) {
      await client.type("x");
      const typed = performance.now();
      const wanted = client.text();
      await eventually(async () => (await record(t.db, key))?.body === wanted);
      lags.push(performance.now() - typed);
    }
    expect(Math.min(...lags)).toBeLessThan(250);
    const log = await t.db.query("select seq, op, changed_fields from perch.sync_changes order by seq");
    expect(log[0]).toEqual({ seq: 1, op: "insert", changed_fields: ["body", "title"] });
    expect(log.slice(1)).toEqual(lags.map((_, nth) => ({ seq: nth + 2, op: "update", changed_fields: ["body"] })));
    expect(await t.db.query("select from perch.document_queue")).toEqual([]);
  });

  it("are made once for many keystrokes, and end with the last one", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t);
    const key = keyOf(freshId());
    const client = await connect(node, key);
    node.db.counted();
    const started = performance.now();
    for (let letter = 0; letter < 100; letter++) {
      await client.type("x");
      if (letter % 10 === 0) await pause(5);
    }
    const seconds = (performance.now() - started) / 1_000;
    await eventually(async () => (await record(t.db, key))?.body === "x".repeat(100));
    // Whatever was due before this one has been made.
    const after = await connect(node, keyOf(freshId()));
    await after.type("y");
    await eventually(async () => (await record(t.db, after.document.key)) !== undefined);
    expect(node.db.counted().project_document).toBeLessThanOrEqual(4 + seconds / 0.15);
    const [last] = await t.db.query("select projected_seq, merged_seq from perch.documents where record_id = $1", [
      key.recordId,
    ]);
    expect(last).toEqual({ projected_seq: 100, merged_seq: 100 });
  });

  it("are made for what SQL pushed, and for what was due when nobody was there", async () => {
    const t = await open();
    await declare(t);
    const key = keyOf(freshId());
    const first = await startWorkerNode(t);
    await t.asUser("ada", (tx) => pushUpdate(tx, key, replica().type("pushed")));
    await eventually(async () => (await inbox(first.db)).length === 0);
    // Gone before the projection was due; or with it just made, which is as good.
    await first.worker.close();
    const second = await startWorkerNode(t, { settings: { takeOverMs: 0, pollMs: 50 } });
    await eventually(async () => (await record(t.db, key))?.body === "pushed");
    expect(second.warnings).toEqual([]);
  });

  it("fold a long tail, whose updates then are in the snapshot, and a second time forget them", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t, { settings: { foldUpdates: 20, foldBytes: 100_000 } });
    const key = keyOf(freshId());
    const client = await connect(node, key);
    const state = async () => {
      const [row] = await t.db.query<{ snapshot_seq: number; tail_from: number; tail_count: number }>(
        "select snapshot_seq, tail_from, tail_count from perch.documents",
      );
      return row ?? { snapshot_seq: 0, tail_from: 0, tail_count: 0 };
    };
    for (let letter = 0; letter < 30; letter++) await client.type("a");
    await eventually(async () => (await state()).snapshot_seq > 0);
    const first = await state();
    expect(first.tail_from).toBe(0);
    for (let letter = 0; letter < 30; letter++) await client.type("b");
    await eventually(async () => (await state()).tail_from > 0);
    expect((await state()).tail_from).toBe(first.snapshot_seq);
    expect(await storedText(node.db, key)).toBe(client.text());
    expect((await connect(node, key)).text()).toBe(client.text());
    const [oldest] = await t.db.query<{ seq: number }>("select min(seq) as seq from perch.document_updates");
    expect(oldest?.seq).toBe(first.snapshot_seq + 1);
  });

  it("go on beside a document that cannot be projected", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t);
    await t.db.query(`
      create function refuse() returns trigger language plpgsql as $$
      begin
        if new.record_id = 'refused' then raise exception 'not this one'; end if;
        return new;
      end $$`);
    await t.db.query(
      "create trigger refuse before insert on perch.stored_records for each row execute function refuse()",
    );
    const [bad, good] = [await connect(node, keyOf("refused")), await connect(node, keyOf("good"))];
    await Promise.all([bad.type("x"), good.type("y")]);
    await eventually(async () => (await record(t.db, keyOf("good")))?.body === "y");
    await eventually(() => node.warnings.length > 0);
    expect(node.warnings[0]?.details).toMatchObject({ document: "~ada/notes/pages/refused", failures: 1 });
    await t.db.query("drop trigger refuse on perch.stored_records");
    await eventually(async () => (await record(t.db, keyOf("refused")))?.body === "x");
  });

  it("follow fields that are declared later", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t);
    const [key, other] = [keyOf(freshId()), keyOf(freshId())];
    const [client, untouched] = [await connect(node, key), await connect(node, other)];
    await Promise.all([client.type("a"), untouched.type("b")]);
    await eventually(async () => (await record(t.db, key))?.body === "a");
    await declare(t, { title: "string", body: "text", rating: "number" });
    await t.asUser("ada", (tx) => patchDocument(tx, key, { rating: 4.5 }));
    await eventually(async () => (await record(t.db, key))?.rating === 4.5);
    expect(await record(t.db, key)).toEqual({ title: null, body: "a", rating: 4.5 });
    await eventually(async () => {
      await untouched.type("!");
      await pause(50);
      return (await record(t.db, other))?.rating === null;
    });
    await eventually(async () => (await record(t.db, other))?.body === untouched.text());
    expect(await record(t.db, other)).toEqual({ title: null, body: untouched.text(), rating: null });
  });
});

describe("a large document", () => {
  const open = postgres(18);

  it("is projected the more rarely the larger it is, or when it falls quiet", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t);
    const large = async () => {
      const client = await connect(node, keyOf(freshId()));
      await client.type("large ".repeat(20_000));
      await eventually(async () => (await record(t.db, client.document.key)) !== undefined);
      return client;
    };
    const shown = async (client: Client) => (await record(t.db, client.document.key))?.body === client.text();
    const logged = async (client: Client) =>
      (await t.db.query("select from perch.sync_changes where record_id = $1", [client.document.key.recordId])).length;
    const [quiet, busy] = [await large(), await large()];
    await quiet.type("x");
    const began = performance.now();
    let last = began;
    let gaps = 0;
    while (!(await shown(quiet))) {
      await busy.type("x");
      // It may have taken the busy one for quiet where this machine stood still.
      if (performance.now() - last > 1_000) gaps += 1;
      last = performance.now();
      await pause(50);
    }
    // The quiet one is shown after a second and a half, and the busy one every five seconds; small ones are within 150 ms.
    const allowed = gaps + Math.floor((performance.now() - began) / 4_000);
    expect((await logged(busy)) - 1).toBeLessThanOrEqual(allowed);
    await eventually(() => shown(busy));
    expect((await logged(busy)) - 1).toBeLessThanOrEqual(allowed + 1);
    expect((await logged(quiet)) - 1).toBe(1);
  });
});
