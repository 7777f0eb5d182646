import { createHash } from "node:crypto";
import type { Database, Queryable } from "../../database/types.js";
import { toPerchError } from "../../errors.js";
import { personalSpaceId } from "../../identity/identity.js";
import { type Context, withContext } from "../../identity/index.js";
import { type ChangeLine, type LineCounts, parseLine, type RecordLine, type UpdateLine } from "./format.js";
import { readLines } from "./lines.js";
import { progressFile } from "./progress.js";
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
  /** Called once when how far it is cannot be noted beside the file, and why: interrupted it would begin anew. */
  onUnnoted?: ((error: Error) => void) | undefined;
}

export interface ImportProgress {
  phase: "verifying" | "importing";
  lines: number;
  /** Unknown while verifying. */
  totalLines?: number;
}

export interface ImportResult {
  counts: LineCounts;
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
  const target = (spaceId: string) =>
    options.spaceId ?? (spaceId === personalSpaceId(header.user_id) ? personalSpaceId(userId) : spaceId);

  const { writable, epoch } = await withContext(db, context, async (tx) => {
    await requireDocumentTables(tx, verified);
    const [row] = await tx.query<{ writable: string[]; epoch: string }>(
      "select perch.writable_space_ids() as writable, perch.current_epoch() as epoch",
    );
    return { writable: new Set(row?.writable), epoch: row?.epoch ?? "" };
  });
  const forbidden = new Set([...verified.spaceIds].filter((spaceId) => !writable.has(target(spaceId))));
  if (forbidden.size > 0 && !options.skipForbidden) throw new Error(refusal(path, userId, forbidden, options.spaceId));

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

  /** Changes and records go into the database as the text they are: JavaScript would round their numbers. */
  const restore = (waiting: readonly Waiting[]) =>
    withContext(db, context, (tx) =>
      tx.query<{ nth: number; status: "present" | "applied" | "replayed" | "rejected"; message: string | null }>(
        `select nth, status, message
           from perch.restore_changes(lines => $1::jsonb, from_user => $2, from_epoch => $3, space_id => $4)`,
        [`[${waiting.map(({ text }) => text).join(",")}]`, header.user_id, header.epoch, options.spaceId ?? null],
      ),
    );
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
  const leftOut = [...forbidden].sort();
  const about = { sha256: manifest.sha256, userId, spaceId: options.spaceId ?? null, epoch, leftOut };
  const file = progressFile(`${path}.progress`, about);
  const before = await file.read();
  if (before !== undefined) {
    const again = await restore([{ text: before.proof, line: parseLine(before.proof) as Waiting["line"] }]);
    // Applied only now: the database does not have what was done then (it is another one, or was restored). From the beginning.
    result.applied += again.filter(({ status }) => status === "applied").length;
    if (result.applied === 0 && again.every(({ status }) => status !== "rejected")) result.resumedAt = before.lines;
  }

  const totalLines = sum(manifest.counts);
  let number = 0;
  let waiting: Waiting[] = [];
  let updates: UpdateLine[] = [];
  let bytes = 0;
  let saved = Date.now();
  let isNoted = true;
  const flush = async () => {
    for (const { nth, status, message } of waiting.length > 0 ? await restore(waiting) : []) {
      const restored = waiting[nth - 1];
      if (status === "applied") result.applied += 1;
      else if (status !== "rejected") result.present += 1;
      else if (restored !== undefined) reject(restored.line, message ?? status);
    }
    for (const line of updates) await pushUpdate(line);
    const proof = waiting.at(-1)?.text;
    waiting = [];
    updates = [];
    bytes = 0;
    onProgress?.({ phase: "importing", lines: number, totalLines });
    if (proof !== undefined && isNoted && Date.now() - saved > 500) {
      // A backup may be on a medium that nobody can write to.
      await file.write({ lines: number, proof }).catch((error: Error) => {
        isNoted = false;
        options.onUnnoted?.(error);
      });
      saved = Date.now();
    }
  };
  for await (const read of readLines(path)) {
    const text = read.toString("utf8");
    const line = parseLine(text);
    if (line.kind === "perch-export" || line.kind === "manifest") continue;
    number += 1;
    if (line.kind === "document_table" || number <= result.resumedAt) continue;
    if (forbidden.has(line.space_id)) {
      result.skipped += 1;
      continue;
    }
    if (line.kind === "update") updates.push(line);
    else waiting.push({ text, line });
    bytes += read.length;
    if (waiting.length + updates.length >= batch.lines || bytes >= batch.bytes) await flush();
  }
  if (waiting.length + updates.length > 0) await flush();
  await file.remove();
  return result;
}

/** A line that is to be restored, as it stands in the file, and what it is about. */
interface Waiting {
  readonly text: string;
  readonly line: ChangeLine | RecordLine;
}

function refusal(path: string, userId: string, forbidden: ReadonlySet<string>, spaceId: string | undefined): string {
  if (spaceId !== undefined) {
    return `${userId} may not write the space "${spaceId}": make it (perch.create_space), or make the user an editor there`;
  }
  const named = [...forbidden].slice(0, 10).map((each) => `"${each}"`);
  return (
    `${userId} may not write ${forbidden.size} of the spaces in ${path} (${named.join(", ")}): ` +
    "make the user an editor there, restore everything into one space, or leave these spaces out"
  );
}

/** The op_id of an update restored into a space: the same for the same thing, so that a repeat is known as one. */
function updateId(line: UpdateLine, spaceId: string): string {
  const about = ["update", line.space_id, line.app_id, line.table, line.id, spaceId, line.payload];
  return `restore-${createHash("sha256").update(JSON.stringify(about)).digest("base64url").slice(0, 32)}`;
}

const sum = ({ document_tables, records, changes, updates }: Readonly<LineCounts>) =>
  document_tables + records + changes + updates;

/** Documents can only be restored where their tables are declared with the same kinds; that is the DBA's to do. */
async function requireDocumentTables(tx: Queryable, { documentTables }: Verified): Promise<void> {
  const missing = await tx.query<{ app_id: string; table_name: string; fields: string }>(
    "select * from perch.undeclared_tables(declarations => $1::jsonb)",
    [`[${documentTables.join(",")}]`],
  );
  if (missing.length === 0) return;
  const quoted = (value: string) => `'${value.replaceAll("'", "''")}'`;
  const statements = missing.map(
    ({ app_id, table_name, fields }) =>
      `select perch.declare_table(app_id => ${quoted(app_id)}, table_name => ${quoted(table_name)}, fields => ${quoted(fields)});`,
  );
  throw new Error(
    `document tables are not declared here as they were there; let the DBA run:\n${statements.join("\n")}`,
  );
}
