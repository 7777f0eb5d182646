import { isDeepStrictEqual } from "node:util";
import type { LoroDoc } from "loro-crdt";
import { counterOf } from "../demo/author.js";
import { type Place, readRecord, readStored, roomOf } from "../demo/document.js";
import type { Cluster } from "./cluster.js";
import { type Editor, type Sheet, wordOf } from "./editor.js";
import type { SqlWriter } from "./sql-writer.js";

export interface Witnesses {
  readonly cluster: Cluster;
  readonly open: readonly Editor[];
  /** Clients that were closed in the middle of it. */
  readonly closed: readonly Editor[];
  readonly sql: SqlWriter;
}

export interface Verdict {
  /** Acknowledged edits, and edits of clients that are still open, that are not there, or there twice. */
  readonly losses: string[];
  /** Copies that are not equal in the end. */
  readonly differences: string[];
}

interface Stored {
  readonly place: Place;
  readonly doc: LoroDoc;
  readonly record: Record<string, unknown>;
  /** Pushed by SQL, and not merged yet. */
  readonly pending: number;
}

const pendingSql = `
  select count(*)::int as pending from perch.document_inbox i
   where i.space_id = $1 and i.app_id = $2 and i.table_name = $3 and i.record_id = $4 and i.status = 'pending'`;

const reader = "owner";

/** Waits until everything is merged and all copies are equal, then looks for every edit. After `patienceMs` what is not equal counts as different. */
export async function judge(witnesses: Witnesses, patienceMs: number): Promise<Verdict> {
  const { cluster, open } = witnesses;
  const deadline = Date.now() + patienceMs;
  const stored: Stored[] = [];
  const differences: string[] = [];
  for (const place of cluster.places) {
    for (;;) {
      const now = await read(cluster, place);
      const different = compare(now, sheetsOf(open, place));
      if (different.length === 0 || Date.now() > deadline) {
        stored.push(now);
        differences.push(...different);
        break;
      }
      now.doc.free();
      await new Promise((done) => setTimeout(done, 100));
    }
  }
  return { losses: stored.flatMap((document) => lossesOf(document, witnesses)), differences };
}

async function read({ db }: Cluster, place: Place): Promise<Stored> {
  // First of all: what is not pending any more is in what is read next.
  const address = [place.spaceId, place.appId, place.tableName, place.recordId];
  const [inbox] = await db.query<{ pending: number }>(pendingSql, address);
  const { doc } = await readStored(db, place, reader);
  return { place, doc, record: (await readRecord(db, place, reader)) ?? {}, pending: inbox?.pending ?? 0 };
}

const sheetsOf = (editors: readonly Editor[], place: Place): [Editor, Sheet][] =>
  editors.flatMap((editor) =>
    editor.sheets.filter(({ roomId }) => roomId === roomOf(place)).map((sheet): [Editor, Sheet] => [editor, sheet]),
  );

function compare({ place, doc, record, pending }: Stored, sheets: readonly [Editor, Sheet][]): string[] {
  const { recordId } = place;
  const json = jsonOf(doc);
  const wrong = sheets
    .filter(
      ([, sheet]) => doc.version().compare(sheet.doc.version()) !== 0 || !isDeepStrictEqual(jsonOf(sheet.doc), json),
    )
    .map(
      ([{ user }, { trace }]) =>
        `${recordId}: the copy of ${user} is not what is stored; its wire: ${trace.join(", ")}`,
    );
  for (const [field, value] of Object.entries(json)) {
    if (!isDeepStrictEqual(record[field], value))
      wrong.push(`${recordId}: ${field} of the record is not what is stored`);
  }
  if (pending > 0) wrong.push(`${recordId}: of what was pushed by SQL ${pending} are not merged`);
  return wrong;
}

/** The document as its record shows it; fields that nobody has touched are left out. */
function jsonOf(doc: LoroDoc): Record<string, unknown> {
  const { fields = {}, ...roots } = doc.toJSON() as Record<string, object>;
  return { ...fields, ...roots };
}

function lossesOf({ place, doc }: Stored, { open, closed, sql }: Witnesses): string[] {
  const { recordId } = place;
  const {
    body = "",
    entries = [],
    marks = {},
    votes = 0,
  } = jsonOf(doc) as {
    body?: string;
    entries?: string[];
    marks?: Record<string, boolean>;
    votes?: number;
  };
  const losses: string[] = [];
  const words = countOf(body.match(/<[^<>]*>/g) ?? []);
  const listed = countOf(entries);
  const bySql = sql.committed.get(recordId) ?? [];
  let expectedVotes = bySql.length;
  for (const name of bySql) if (marks[name] !== true) losses.push(`${recordId}: ${name}, pushed by SQL, is not there`);

  for (const [{ user }, sheet, whole] of [
    ...sheetsOf(open, place).map(([editor, each]) => [editor, each, true] as const),
    ...sheetsOf(closed, place).map(([editor, each]) => [editor, each, false] as const),
  ]) {
    const there = counterOf(doc, sheet.peer);
    if (there < sheet.acknowledged) {
      losses.push(`${recordId}: of ${user} ${sheet.acknowledged} operations are acknowledged, ${there} stored`);
    }
    for (const { kind, name, end, erasedAt } of sheet.edits) {
      const included = end <= there;
      if (!included && (whole || end <= sheet.acknowledged))
        losses.push(`${recordId}: ${name} (${kind}) is not stored`);
      const times = included && !(erasedAt !== undefined && erasedAt <= there) ? 1 : 0;
      if (kind === "word" && (words.get(wordOf(name)) ?? 0) !== times)
        losses.push(`${recordId}: ${name} is not in the text ${times} times`);
      if (kind === "entry" && (listed.get(name) ?? 0) !== times)
        losses.push(`${recordId}: ${name} is not in the list ${times} times`);
      if (kind === "mark" && (marks[name] === true ? 1 : 0) !== times)
        losses.push(`${recordId}: ${name} is not in the map ${times} times`);
      if (kind === "vote") expectedVotes += times;
    }
  }
  if (votes !== expectedVotes) losses.push(`${recordId}: ${votes} votes, of ${expectedVotes} given`);
  return losses;
}

function countOf(items: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  return counts;
}
