import { LoroDoc } from "loro-crdt";
import { beforeAll, describe, expect, it } from "vitest";
import { countedAtMost } from "../../src/http/database-figures.js";
import { startWorker } from "../../src/worker/index.js";
import { cleanup, declareNotes, type Node, rawClient, startNode, text, typed, until } from "../gateway/support.js";
import { describeBothKinds, postgres, type TestDatabase } from "../support/databases.js";
import { openEvents } from "./support.js";

interface Family {
  type: string;
  help: string;
  samples: { name: string; labels: Record<string, string>; value: number }[];
}

const name = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const label = `[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"`;
const sampleLine = new RegExp(`^(${name})(?:\\{(${label}(?:,${label})*)\\})? (\\S+)$`);

/** Reads the text format of Prometheus, version 0.0.4, as strictly as its description. */
function readExposition(body: string): Map<string, Family> {
  expect(body.endsWith("\n")).toBe(true);
  const families = new Map<string, Family>();
  let current: Family | undefined;
  let currentName = "";
  for (const line of body.slice(0, -1).split("\n")) {
    const [, keyword, family = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (keyword === "HELP") {
      expect(family).toMatch(new RegExp(`^${name}$`));
      expect(families.has(family), `${family} comes twice`).toBe(false);
      current = { type: "", help: rest, samples: [] };
      currentName = family;
      families.set(family, current);
    } else if (keyword === "TYPE") {
      expect(family).toBe(currentName);
      expect(["counter", "gauge", "histogram"]).toContain(rest);
      if (current) current.type = rest;
    } else {
      const [, sample = "", labels = "", value = ""] = sampleLine.exec(line) ?? [];
      expect(sample, line).not.toBe("");
      const suffixes = current?.type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
      expect(suffixes.map((suffix) => currentName + suffix)).toContain(sample);
      expect(Number.isFinite(Number(value)), line).toBe(true);
      const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = "", text = ""]) => [key, text]);
      current?.samples.push({ name: sample, labels: Object.fromEntries(pairs), value: Number(value) });
    }
  }
  for (const [family, { type, samples }] of families) {
    const ids = samples.map((sample) => JSON.stringify([sample.name, sample.labels]));
    expect(new Set(ids).size, `a series of ${family} comes twice`).toBe(ids.length);
    if (type === "counter") expect(family).toMatch(/_total$/);
    if (type !== "histogram") continue;
    const buckets = samples.filter((sample) => sample.name.endsWith("_bucket"));
    const values = buckets.map(({ value }) => value);
    expect(values).toEqual([...values].sort((a, b) => a - b));
    expect(buckets.at(-1)?.labels).toEqual({ le: "+Inf" });
    expect(samples.find((sample) => sample.name === `${family}_count`)?.value).toBe(values.at(-1));
  }
  return families;
}

async function scrape(node: Node) {
  const response = await fetch(`${node.gateway.url}/metrics`);
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  const families = readExposition(await response.text());
  const value = (family: string, sample = family) =>
    families.get(family)?.samples.find((each) => each.name === sample)?.value;
  return { families, value };
}

const series = (families: Map<string, Family>) =>
  [...families.values()].reduce((sum, { samples }) => sum + samples.length, 0);

describeBothKinds("metrics", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declareNotes(t);
  });

  it("are in the format of Prometheus, and measure an edit from its receipt to its commit and to its readers", async () => {
    const node = await startNode(t);
    const writer = await rawClient(node, { token: "ada" });
    const reader = await rawClient(node, { token: "ada" });
    for (const client of [writer, reader]) await client.join("/app/notes/m1");
    await writer.update("/app/notes/m1", [typed(new LoroDoc(), "x"), typed(new LoroDoc(), "y")]);
    await reader.next(3);
    const { value } = await scrape(node);
    expect(value("perch_edits_total")).toBe(2);
    expect(value("perch_commit_seconds", "perch_commit_seconds_count")).toBe(1);
    expect(value("perch_delivery_seconds", "perch_delivery_seconds_count")).toBe(1);
    expect(value("perch_sockets")).toBe(2);
    expect(value("perch_database_up")).toBe(1);
    expect(value("perch_notify_queue_ratio")).toBeLessThan(0.01);
  });

  it("have no more series the more clients ask for what is not there, with whatever names", async () => {
    const node = await startNode(t, { env: { PERCH_MAX_STREAMS: "2" } });
    const ask = async (nth: number) => {
      const odd = `x${nth}"\\\n{`;
      const path = encodeURIComponent(odd);
      for (const [method, where] of [
        ["GET", `/${path}`],
        ["POST", `/v1/${path}`],
        ["GET", `/v1/documents/${path}/${path}/${path}/${path}`],
        ["PATCH", `/v1/documents/~/app/notes/${path}`],
        ["DELETE", "/v1/push"],
        ["GET", `/v1/changes?app_id=${path}&cursor=${path}`],
      ] as const) {
        const headers = { authorization: `Bearer ${encodeURIComponent(odd)}`, "x-request-id": path };
        const response = await fetch(node.gateway.url + where, { method, headers });
        await response.text();
      }
      const client = await rawClient(node, { token: `user${nth}` });
      await client.join(`/${path}/notes/x`);
      await client.join(`/app/notes/${path}`);
      await client.update(`/app/notes/${path}`, [text("none")]);
      const stream = await openEvents(node, "app_id=a", { token: `user${nth}` });
      stream.close();
    };
    await ask(0);
    const once = series((await scrape(node)).families);
    for (let nth = 1; nth <= 8; nth += 1) await ask(nth);
    const { families } = await scrape(node);
    expect(series(families)).toBeLessThanOrEqual(once + 3);
    expect(series(families)).toBeLessThan(400);
  });

  it("show what waits to be merged, for how long, and what was set aside", async () => {
    const node = await startNode(t);
    const patch = (id: string, fields: string) =>
      t.asUser("ada", (tx) =>
        tx.query("select perch.patch_document(app_id => 'app', table_name => 'notes', record_id => $1, patch => $2)", [
          id,
          fields,
        ]),
      );
    await patch("p1", '{"title": "One"}');
    const doc = new LoroDoc();
    typed(doc, "what the next one builds on");
    const groundless = typed(doc, "!");
    await t.asUser("ada", (tx) =>
      tx.query("select perch.push_update(app_id => 'app', table_name => 'notes', record_id => 'p2', update => $1)", [
        groundless,
      ]),
    );
    const waiting = await scrape(node);
    expect(waiting.value("perch_pending_updates")).toBe(2);
    expect(waiting.value("perch_merge_lag_seconds")).toBeGreaterThan(0);
    expect(waiting.value("perch_set_aside_updates")).toBe(0);
    const worker = await startWorker({ db: t.db, live: node.live });
    cleanup(() => worker.close());
    const settled = await until(async () => {
      const { value } = await scrape(node);
      return value("perch_set_aside_updates") === 1 && value("perch_pending_updates") === 0 ? { value } : undefined;
    });
    expect(settled.value("perch_merge_lag_seconds")).toBe(0);
  });

  it("are there while the database is not", async () => {
    let away = false;
    const query = <Row>(sql: string, params?: readonly unknown[]) =>
      away ? new Promise<Row[]>(() => undefined) : t.db.query<Row>(sql, params);
    const db = { ...t.db, query, aside: { query } } as typeof t.db;
    const node = await startNode(t, { db });
    away = true;
    const { families, value } = await scrape(node);
    expect(value("perch_database_up")).toBe(0);
    expect(families.get("perch_pending_updates")?.samples).toEqual([]);
    expect(value("perch_sockets")).toBe(0);
  });
});

describe("metrics on Postgres 18", () => {
  const open = postgres();

  it("cost the same however much is stored, waits or was set aside", async () => {
    const t = await open();
    await t.db.query(
      `insert into perch.documents (space_id, app_id, table_name, record_id, created_by)
       select '~ada', 'app', 'notes', n::text, 'ada' from generate_series(1, 50000) n`,
    );
    await t.db.query(
      `insert into perch.document_inbox (space_id, app_id, table_name, record_id, seq, kind, patch, user_id, status, error)
       select '~ada', 'app', 'notes', n::text, 1, 'patch', '{}', 'ada', s.status, s.error
         from generate_series(1, 100000) n
        cross join lateral (select case when n % 2 = 0 then 'pending' else 'rejected' end as status,
                                   case when n % 2 = 1 then '{}'::jsonb end as error) s`,
    );
    await t.db.query(
      `insert into perch.document_queue (space_id, app_id, table_name, record_id, due_at)
       select '~ada', 'app', 'notes', n::text, now() from generate_series(1, 50000) n`,
    );
    await t.db.query(
      `insert into perch.captured_changes (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, captured_at)
       select n, 1, '1', '~ada', 'app', 'orders', n::text, 'delete', now() from generate_series(1, 50000) n`,
    );
    for (const table of ["documents", "document_inbox", "document_queue", "captured_changes"])
      await t.db.query(`analyze perch.${table}`);
    const worker = await t.login("perch_worker");
    const [{ body }] = (await t.db.query<{ body: string }>(
      "select p.prosrc as body from pg_proc p where p.oid = 'perch.database_figures'::regproc",
    )) as [{ body: string }];
    const plan = await worker.query<{ "QUERY PLAN": { Plan: object }[] }>(
      `explain (analyze, buffers, format json) ${body.replaceAll("database_figures.max_count", String(countedAtMost))}`,
    );
    const found = JSON.stringify(plan[0]?.["QUERY PLAN"]);
    expect(found).not.toContain("Seq Scan");
    expect(found).not.toContain('"Sort"');
    for (const index of [
      "document_inbox_pending",
      "document_inbox_rejected",
      "document_queue_by_due",
      "captured_changes_pkey",
    ]) {
      expect(found).toContain(index);
    }
    const rows = [...found.matchAll(/"Actual Rows":\s*([\d.]+)/g)].map(([, count]) => Number(count));
    expect(Math.max(...rows)).toBeLessThanOrEqual(countedAtMost);
    const [figures] = await worker.query<Record<string, number>>(
      "select * from perch.database_figures(max_count => $1)",
      [countedAtMost],
    );
    expect(figures).toMatchObject({ pending: countedAtMost, set_aside: countedAtMost, unprojected: countedAtMost });
  });
});
