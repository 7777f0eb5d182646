import { type Context, withContext } from "../../context/index.js";
import type { Database, Queryable } from "../../database/types.js";
import { toPerchError } from "../../errors.js";
import { push } from "../calls.js";
import { type ChangeLine, type Counts, type Line, parseLine, type UpdateLine } from "./format.js";
import { readLines } from "./lines.js";
import { progressFile } from "./progress.js";
import { type Restored, restoreChange, restoreRecord, updateId } from "./restore.js";
import { type Verified, verifyExport } from "./verify.js";

export interface ImportOptions {
  /** The file of an export. */
  path: string;
  /** Who is to own what is restored; the user of the export when not given. That user's personal space takes the place of the old one. */
  userId?: string | undefined;
  /** Everything into this one space. */
  spaceId?: string | undefined;
  /** Leaves out spaces that the user may not write, instead of refusing to begin. */
  skipForbidden?: boolean | undefined;
  onProgress?: ((progress: ImportProgress) => void) | undefined;
}

export interface ImportProgress {
  phase: "verifying" | "importing";
  lines: number;
  /** Unknown while verifying. */
  totalLines?: number;
}

export interface ImportResult {
  counts: Counts;
  /** Changes that are there now and were not before (a record of the export is several of them). */
  applied: number;
  /** Those that were there already. */
  present: number;
  /** Updates of documents that were handed to the worker, which sees what is new in them. */
  updates: number;
  /** Lines of spaces left out. */
  skipped: number;
  rejected: number;
  /** The first of the rejected ones, and why. */
  rejections: { table: string; id: string; message: string }[];
  /** Lines that an earlier, interrupted import had done. */
  resumedAt: number;
}

/** What is sent in one transaction at most. */
const batch = { lines: 1_000, bytes: 4_000_000 };
const maxRejections = 20;

/**
 * Restores an export, after verifying all of it. Every change and update keeps its time, device and content, and has an op_id of its
 * own, so doing it again changes nothing and an interrupted import goes on where it was. Documents are merged by the worker.
 *
 * Errors: the file is damaged or of a newer format; a document table is not declared here; the user may not write a space that
 * something is in (unless `skipForbidden`). What the database rejects one by one is counted and reported.
 */
export async function importUser(db: Database, options: ImportOptions): Promise<ImportResult> {
  const { path, onProgress } = options;
  const verified = await verifyExport(path, (counts) => onProgress?.({ phase: "verifying", lines: sum(counts) }));
  const { header, manifest } = verified;
  const userId = options.userId ?? header.user_id;
  const context: Context = { userId };
  const target = (spaceId: string) => options.spaceId ?? (spaceId === `~${header.user_id}` ? `~${userId}` : spaceId);

  const here = await withContext(db, context, async (tx) => {
    await requireDocumentTables(tx, verified);
    const [row] = await tx.query<{ epoch: string; writable: string[] }>(
      "select epoch, perch.writable_space_ids() as writable from perch.log_epoch",
    );
    return { epoch: row?.epoch, writable: new Set(row?.writable) };
  });
  const forbidden = new Set([...verified.spaceIds].filter((spaceId) => !here.writable.has(target(spaceId))));
  if (forbidden.size > 0 && !options.skipForbidden) {
    const named = [...forbidden].slice(0, 10).map((spaceId) => `"${target(spaceId)}"`);
    throw new Error(
      `${userId} may not write ${forbidden.size} of the spaces in ${path} (${named.join(", ")}): ` +
        "make the user an editor there, restore everything into one space, or leave these spaces out",
    );
  }

  const result: ImportResult = {
    counts: manifest.counts,
    applied: 0,
    present: 0,
    updates: 0,
    skipped: 0,
    rejected: 0,
    rejections: [],
    resumedAt: 0,
  };
  const reject = (place: { table: string; id: string }, message: string) => {
    result.rejected += 1;
    if (result.rejections.length < maxRejections) result.rejections.push({ ...place, message });
  };

  const pushAll = async (tx: Queryable, restored: Restored[]) => {
    for (const [{ appId, clientId }, changes] of grouped(restored)) {
      const { results } = await push(tx, { appId, clientId, changes: changes.map(({ change }) => change) });
      results.forEach(({ status, error }, nth) => {
        if (status === "applied") result.applied += 1;
        else if (status === "replayed") result.present += 1;
        else if (changes[nth]) reject(changes[nth].change, error?.message ?? "rejected");
      });
    }
  };
  const pushUpdate = async (line: UpdateLine) => {
    const spaceId = target(line.space_id);
    const key = [
      line.app_id,
      line.table,
      line.id,
      Buffer.from(line.payload, "base64"),
      spaceId,
      updateId(line, spaceId),
    ];
    try {
      await withContext(db, context, (tx) =>
        tx.query(
          `select perch.push_update(app_id => $1, table_name => $2, record_id => $3, update => $4, space_id => $5, op_id => $6)`,
          key,
        ),
      );
      result.updates += 1;
    } catch (error) {
      const refused = toPerchError(error);
      if (refused === undefined) throw error;
      reject(line, refused.message);
    }
  };
  /** Changes that this log has at the same place: the export was made here, and nothing was lost. */
  const absent = async (tx: Queryable, lines: ChangeLine[]) => {
    const candidates = lines.filter((line) => header.epoch === here.epoch && target(line.space_id) === line.space_id);
    if (candidates.length === 0) return lines;
    const rows = await tx.query<{ nth: number }>(
      `select w.nth::int as nth
         from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[]) with ordinality
                as w (space_id, seq, table_name, record_id, at, nth)
         join perch.sync_changes c on c.space_id = w.space_id and c.seq = w.seq and c.table_name = w.table_name
          and c.record_id = w.record_id and c.at = w.at and c.user_id = $6`,
      [
        candidates.map((line) => line.space_id),
        candidates.map((line) => line.seq),
        candidates.map((line) => line.table),
        candidates.map((line) => line.id),
        candidates.map((line) => line.at),
        header.user_id,
      ],
    );
    const there = new Set(rows.map(({ nth }) => candidates[nth - 1]));
    result.present += there.size;
    return lines.filter((line) => !there.has(line));
  };

  const file = progressFile(`${path}.progress`, { sha256: manifest.sha256, userId, spaceId: options.spaceId ?? null });
  const before = await file.read();
  if (before !== undefined) {
    const { appId, clientId, change } = before.proof;
    const { results } = await withContext(db, context, (tx) => push(tx, { appId, clientId, changes: [change] }));
    // Applied only now: the database does not have what was done then (it is another one, or was restored). From the beginning.
    if (results[0]?.status === "replayed") result.resumedAt = before.lines;
    else if (results[0]?.status === "applied") result.applied += 1;
  }

  const totalLines = sum(manifest.counts);
  let number = 0;
  let waiting: Exclude<Line, { kind: "perch-export" | "manifest" | "document_table" }>[] = [];
  let bytes = 0;
  let saved = Date.now();
  const flush = async () => {
    const restored = await withContext(db, context, async (tx) => {
      const changes = waiting.filter((line) => line.kind === "change");
      const toPush = [
        ...waiting
          .filter((line) => line.kind === "record")
          .flatMap((line) => restoreRecord(line, header.epoch, target(line.space_id))),
        ...(await absent(tx, changes)).flatMap((line) => restoreChange(line, header.epoch, target(line.space_id))),
      ];
      await pushAll(tx, toPush);
      return toPush;
    });
    for (const line of waiting) if (line.kind === "update") await pushUpdate(line);
    waiting = [];
    bytes = 0;
    onProgress?.({ phase: "importing", lines: number, totalLines });
    const proof = restored.at(-1);
    if (proof !== undefined && Date.now() - saved > 500) {
      await file.write({ lines: number, proof });
      saved = Date.now();
    }
  };
  for await (const text of readLines(path)) {
    const line = parseLine(text.toString("utf8"));
    if (line.kind === "perch-export" || line.kind === "manifest") continue;
    number += 1;
    if (line.kind === "document_table" || number <= result.resumedAt) continue;
    if (forbidden.has(line.space_id)) {
      result.skipped += 1;
      continue;
    }
    waiting.push(line);
    bytes += text.length;
    if (waiting.length >= batch.lines || bytes >= batch.bytes) await flush();
  }
  if (waiting.length > 0) await flush();
  await file.remove();
  return result;
}

const sum = ({ document_tables, records, changes, updates }: Readonly<Counts>) =>
  document_tables + records + changes + updates;

/** By app and device, which are arguments of a whole push; the order of arrival does not matter to the records. */
function grouped(restored: Restored[]): [Restored, Restored[]][] {
  const groups = new Map<string, Restored[]>();
  for (const each of restored) {
    const key = JSON.stringify([each.appId, each.clientId]);
    const group = groups.get(key);
    if (group) group.push(each);
    else groups.set(key, [each]);
  }
  return [...groups.values()].map((group) => [group[0] as Restored, group]);
}

/** Documents can only be restored where their tables are declared with the same kinds; that is the DBA's to do. */
async function requireDocumentTables(tx: Queryable, { documentTables }: Verified): Promise<void> {
  const rows = await tx.query<{ app_id: string; table_name: string; fields: Record<string, string> }>(
    "select app_id, table_name, fields from perch.document_tables",
  );
  const missing = documentTables.filter(({ app_id, table, fields }) => {
    const declared = rows.find((row) => row.app_id === app_id && row.table_name === table)?.fields;
    return Object.entries(fields).some(([field, kind]) => declared?.[field] !== kind);
  });
  if (missing.length === 0) return;
  const quoted = (value: string) => `'${value.replaceAll("'", "''")}'`;
  const statements = missing.map(
    ({ app_id, table, fields }) =>
      `select perch.declare_table(app_id => ${quoted(app_id)}, table_name => ${quoted(table)}, fields => ${quoted(JSON.stringify(fields))});`,
  );
  throw new Error(
    `document tables are not declared here as they were there; let the DBA run:\n${statements.join("\n")}`,
  );
}
