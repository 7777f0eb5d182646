import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "../../database/package-root.js";
import type { Database, Transaction } from "../../database/types.js";
import { enterContext } from "../../identity/index.js";
import { count, createDigest, formatVersion, type LineCounts, type Manifest, noCounts } from "./format.js";

export interface ExportOptions {
  userId: string;
  /** Takes one line of the file, with its line feed; the next comes when it resolves. */
  write(line: string): Promise<void> | void;
  /** Called after every batch of lines. */
  onProgress?: ((counts: Readonly<LineCounts>) => void) | undefined;
  /** Called when edits of this user to documents still wait to be merged, with their number: they are not in the export. */
  onPending?: ((count: number) => void) | undefined;
  /** Called for each change or record that is too long to be in the export. */
  onLeftOut?: ((place: Place) => void) | undefined;
}

export interface Place {
  readonly app_id: string;
  readonly space_id: string;
  readonly table: string;
  readonly id: string;
}

/** A longer record is not put into a file, nor into memory. Changes are bounded by the database (max_page_bytes). */
const maxLineBytes = 64 * 1024 * 1024;

/** What a batch of rows may come to: the next one is made smaller, or greater. */
const batchBytes = { most: 8_000_000, least: 1_000_000 };

const documents = "select * from perch.exported_documents()";
const documentTables = "select * from perch.exported_tables()";
const records = `select * from perch.exported_records(max_bytes => ${maxLineBytes})`;
const changes = "select * from perch.exported_changes()";

/**
 * Writes out all that a user authored, as one consistent state: changes, the records behind them where the log was shortened, and
 * documents with their history. Documents count as the user's that they made, that are in the personal space, or that the
 * log names them for; what has not been merged yet is not in them.
 *
 * Memory stays the same however much there is: rows come through a cursor. Out: the manifest. Errors: PE401.
 */
export async function exportUser(db: Database, options: ExportOptions): Promise<Manifest> {
  const { version } = JSON.parse(await readFile(join(packageRoot, "package.json"), "utf8")) as { version: string };
  return db.transaction(async (tx) => {
    await tx.query("set transaction isolation level repeatable read, read only");
    await enterContext(tx, { userId: options.userId });

    const digest = createDigest();
    const counts = noCounts();
    const versions = new Map<string, VersionedTable>();
    const put = async (text: string, line: { kind: string; part?: number }) => {
      digest.update(text).update("\n");
      count(counts, line);
      await options.write(`${text}\n`);
    };
    const putRows = async (kind: "document_table" | "record" | "change", query: string) => {
      for await (const rows of batches<Row>(tx, query, ({ line }) => line?.length ?? 0)) {
        for (const row of rows) {
          if (row.line === null) {
            options.onLeftOut?.(row);
            continue;
          }
          if (kind !== "document_table") noteVersion(versions, row);
          await put(row.line, { kind });
        }
        options.onProgress?.(counts);
      }
    };

    const [log] = await tx.query<{ epoch: string; pending: number }>(
      "select perch.current_epoch() as epoch, perch.pending_updates() as pending",
    );
    if (log !== undefined && log.pending > 0) options.onPending?.(log.pending);
    const header = { kind: "perch-export", format: formatVersion, perch: version, user_id: options.userId };
    await put(JSON.stringify({ ...header, epoch: log?.epoch, exported_at: new Date().toISOString() }), header);
    await putRows("document_table", documentTables);
    for await (const rows of batches<DocumentRow>(tx, documents, () => 0)) {
      for (const row of rows) await putDocument(tx, row, put);
      options.onProgress?.(counts);
    }
    await putRows("record", records);
    await putRows("change", changes);

    const manifest: Manifest = {
      kind: "manifest",
      format: formatVersion,
      counts,
      schema_versions: [...versions.values()],
      sha256: digest.digest("hex"),
    };
    await options.write(`${JSON.stringify(manifest)}\n`);
    return manifest;
  });
}

type Row = Place & VersionedTable & { line: string | null };

interface VersionedTable {
  app_id: string;
  table: string;
  schema_version: number;
}

function noteVersion(versions: Map<string, VersionedTable>, { app_id, table, schema_version }: VersionedTable): void {
  const key = JSON.stringify([app_id, table]);
  if (schema_version > (versions.get(key)?.schema_version ?? 0)) versions.set(key, { app_id, table, schema_version });
}

interface DocumentRow {
  space_id: string;
  app_id: string;
  table_name: string;
  record_id: string;
}

async function putDocument(
  tx: Transaction,
  row: DocumentRow,
  put: (text: string, line: { kind: string; part: number }) => Promise<void>,
): Promise<void> {
  const { space_id, app_id, table_name: table, record_id: id } = row;
  const [state] = await tx.query<{ snapshot: Uint8Array | null; updates: Uint8Array[] }>(
    `select snapshot, updates
       from perch.document_state(space_id => $1, app_id => $2, table_name => $3, record_id => $4)`,
    [space_id, app_id, table, id],
  );
  const blobs = [state?.snapshot, ...(state?.updates ?? [])].filter((blob) => blob != null);
  for (const [nth, blob] of blobs.entries()) {
    const line = { kind: "update", space_id, app_id, table, id, part: nth + 1, parts: blobs.length };
    await put(JSON.stringify({ ...line, payload: Buffer.from(blob).toString("base64") }), line);
  }
}

/** The rows of a query, some at a time, through a cursor of the transaction. */
async function* batches<Row>(tx: Transaction, query: string, size: (row: Row) => number): AsyncGenerator<Row[]> {
  await tx.query(`declare export_rows no scroll cursor for ${query}`);
  try {
    for (let wanted = 200; ; ) {
      const rows = await tx.query<Row>(`fetch ${wanted} from export_rows`);
      if (rows.length > 0) yield rows;
      if (rows.length < wanted) break;
      const bytes = rows.reduce((sum, row) => sum + size(row), 0);
      if (bytes > batchBytes.most) wanted = Math.max(1, Math.floor(wanted / 4));
      else if (bytes < batchBytes.least) wanted = Math.min(1_000, wanted * 2);
    }
  } finally {
    await tx.query("close export_rows").catch(() => undefined);
  }
}
