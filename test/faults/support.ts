import { LoroDoc } from "loro-crdt";
import { expect } from "vitest";
import { type Editor, openEditor } from "../../scripts/faults/editor.js";
import { seeded } from "../../scripts/faults/random.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { pause, until } from "../support/until.js";

export { pause, until };

/** The table that editors write to, a space for the users, and a login that serves. Out: the login's name. */
export async function prepare(db: Database, users: readonly string[]): Promise<string> {
  const fields = { title: "string", body: "text", entries: "list", marks: "map", votes: "counter" };
  await db.query("select perch.declare_table(app_id => 'faults', table_name => 'boards', fields => $1)", [
    JSON.stringify(fields),
  ]);
  await db.transaction(async (tx) => {
    await tx.query("select perch.set_context(user_id => 'owner')");
    await tx.query("select perch.create_space(space_id => 'team')");
    for (const user of users) {
      await tx.query("select perch.set_space_member(space_id => 'team', user_id => $1, role => 'editor')", [user]);
    }
  });
  const login = `serving_${Math.random().toString(36).slice(2)}`;
  await db.query(`create role ${login} login in role perch_worker, perch_app`);
  return login;
}

export const roomId = "team/faults/boards/b1";

/** Official clients that edit one document, one for each user; each has joined. */
export async function openEditors(url: string, users: readonly string[]): Promise<Editor[]> {
  const editors = users.map((user, n) => openEditor({ url, user, roomIds: [roomId], random: seeded(n + 1) }));
  await Promise.all(editors.map(({ ready }) => ready));
  return editors;
}

/** Edits until stopped, every few milliseconds each. Out: ends it. */
export function keepEditing(editors: readonly Editor[], everyMs = 20): () => Promise<void> {
  let stopped = false;
  const editing = editors.map(async (editor) => {
    while (!stopped) {
      editor.edit();
      await pause(everyMs);
    }
  });
  return async () => {
    stopped = true;
    await Promise.all(editing);
  };
}

export const typed = (editors: readonly Editor[]): number =>
  editors.reduce((sum, { sheets }) => sum + sheets.reduce((each, { edits }) => each + edits.length, 0), 0);

/** Edits that the server has said are stored. */
export function acknowledged(editors: readonly Editor[]): number {
  const sheets = editors.flatMap((editor) => editor.sheets);
  return sheets.reduce((sum, sheet) => sum + sheet.edits.filter(({ end }) => end <= sheet.acknowledged).length, 0);
}

/** What is stored of the editors' document. */
export async function storedDocument(db: Database): Promise<LoroDoc> {
  const [row] = await db.transaction(async (tx) => {
    await tx.query("select perch.set_context(user_id => 'owner')");
    return tx.query<{ snapshot: Uint8Array | null; updates: Uint8Array[] }>(
      `select snapshot, updates from perch.document_state(app_id => 'faults', table_name => 'boards', record_id => 'b1',
                                                          space_id => 'team')`,
    );
  });
  const doc = new LoroDoc();
  const blobs = [...(row?.snapshot ? [row.snapshot] : []), ...(row?.updates ?? [])];
  if (blobs.length > 0) doc.importBatch(blobs);
  return doc;
}

/** Waits until stored document, record and all copies are the same; every edit that was typed is then in them. */
export async function expectAllEqual(db: Database, editors: readonly Editor[]): Promise<void> {
  const differing = async () => {
    const stored = await storedDocument(db);
    const [record] = await db.transaction(async (tx) => {
      await tx.query("select perch.set_context(user_id => 'owner')");
      return tx.query<{ body: string }>("select data ->> 'body' as body from perch.records where record_id = 'b1'");
    });
    const body = stored.getText("body").toString();
    return [
      ...(record?.body === body ? [] : ["the record"]),
      ...editors
        .filter(({ sheets }) => sheets[0]?.doc.version().compare(stored.version()) !== 0)
        .map(({ user }) => user),
    ];
  };
  let last: string[] = [];
  await until(async () => {
    last = await differing();
    return last.length === 0;
  }, "all copies are equal").catch((error: unknown) => {
    throw new Error(`not what is stored: ${last.join(", ")}`, { cause: error });
  });
  expect(editors.flatMap(({ gaveUp }) => gaveUp)).toEqual([]);
}

/** Throws unless every acknowledged edit is stored. */
export async function expectNothingLost(db: Database, editors: readonly Editor[]): Promise<void> {
  const counts = editors.flatMap(({ user, sheets }) =>
    sheets.map(({ peer, acknowledged: count }) => ({ user, peer, count })),
  );
  const stored = (await storedDocument(db)).version().toJSON();
  for (const { user, peer, count } of counts) {
    expect(stored.get(peer) ?? 0, `operations of ${user} that are stored`).toBeGreaterThanOrEqual(count);
  }
}

/** What /readyz says. */
export async function readiness(httpUrl: string): Promise<{ status: number; reason: string }> {
  const answer = await fetch(`${httpUrl}/readyz`);
  const body = (await answer.json()) as { error?: { message: string } };
  return { status: answer.status, reason: body.error?.message ?? "" };
}

/** A connection that a fault breaks is nothing to report: the next query makes a new one. */
export const openQuietly = (url: string): Database => openPostgres({ url, onError: () => undefined });

/** A URL with another login. */
export function asLogin(url: string, login: string): string {
  const changed = new URL(url);
  changed.username = login;
  return changed.href;
}
