import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/context.js";
import { openAuthor } from "./author.js";
import { type Place, readRecord, readStored, roomOf } from "./document.js";

/** What somebody got who has no business here. */
export interface StrangerFindings {
  join: string;
  records: number;
  changes: number;
  /** Bytes of the document, or the code of the refusal. */
  document: number | string;
  /** The code of the refusal, or "accepted". */
  push: string;
}

const codeOf = (error: unknown) => String((error as { code?: unknown }).code ?? error);

/** Tries every door as a user who is not in the space. */
export async function tryAsStranger(
  db: Database,
  url: string,
  place: Place,
  userId: string,
): Promise<StrangerFindings> {
  const join = await openAuthor({ url, roomId: roomOf(place), token: userId, field: "body" }).then(
    (author) => {
      author.leave();
      return "let in";
    },
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  const [pulled] = await withContext(db, { userId }, (tx) =>
    tx.query<{ page: { changes: unknown[] } }>("select perch.pull(app_id => $1) as page", [place.appId]),
  );
  const push = await withContext(db, { userId }, (tx) =>
    tx.query(
      "select perch.push_update(app_id => $1, table_name => $2, record_id => $3, update => $4, space_id => $5)",
      [place.appId, place.tableName, place.recordId, new Uint8Array([1]), place.spaceId],
    ),
  ).then(() => "accepted", codeOf);
  return {
    join,
    records: (await readRecord(db, place, userId)) === undefined ? 0 : 1,
    changes: pulled?.page.changes.length ?? 0,
    document: await readStored(db, place, userId).then(({ bytes }) => bytes, codeOf),
    push,
  };
}
