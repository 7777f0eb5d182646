import type { Queryable } from "../database/types.js";
import { type DocumentKey, documentId } from "../documents/key.js";
import { accessOfMany } from "../identity/access.js";
import { type Identity, listsSpaces, personalSpaceId } from "../identity/identity.js";
import type { TokenIdentity } from "../identity/tokens.js";
import { joinErrorCode, type Permission } from "../protocol/protocol.js";
import { JoinRefused, type RoomReader } from "./room.js";
import { addressOf } from "./room-id.js";

/** What a member may do. */
export interface Admitted {
  readonly identity: TokenIdentity;
  readonly key: DocumentKey;
  readonly access: Permission;
}

/** Whether a user may join the room of this id, and what they may do there. Errors: JoinRefused; others when it cannot be told now. */
export async function admit(
  roomId: string | undefined,
  identity: TokenIdentity,
  accessTo: (identity: TokenIdentity, key: DocumentKey) => Promise<Permission | null>,
): Promise<Admitted> {
  const key = roomId === undefined ? undefined : addressOf(roomId, identity.userId);
  if (key === undefined) {
    const why = "a room id is space_id/app_id/table_name/record_id";
    throw new JoinRefused(joinErrorCode.appError, why, { appCode: "invalid" });
  }
  const access = await accessTo(identity, key);
  // One answer for both: a row that somebody may not see is told of as little as one that is not there.
  if (access === null) {
    throw new JoinRefused(joinErrorCode.authFailed, "forbidden: you are not in this space, or may not see this");
  }
  return { identity, key, access };
}

/**
 * What a user may do in the rooms of this name: null for nothing. The database says it: who may be in the space, and, where the name is that
 * of a row of a synced table with rules, whether they show it.
 */
export async function accessToDocument(
  db: Queryable,
  identity: Identity,
  { spaceId, appId, tableName, recordId }: DocumentKey,
): Promise<Permission | null> {
  const [row] = await db.query<{ access: Permission | null }>(
    `select perch.access_to_document(user_id => $1, space_id => $2, app_id => $3, table_name => $4, record_id => $5,
                                     space_ids => $6::text[], writable_space_ids => $7::text[]) as access`,
    [
      identity.userId,
      spaceId,
      appId,
      tableName,
      recordId,
      identity.spaceIds ?? null,
      identity.writableSpaceIds ?? null,
    ],
    { prepare: true },
  );
  return row?.access ?? null;
}

/** A reader whose access is checked again. */
export interface Member extends Pick<RoomReader, "rejoin"> {
  /** Undefined until it has joined. */
  admission(): Admitted | undefined;
}

/** How many memberships one statement looks up. */
const chunkSize = 1_000;

/**
 * Checks again what the members of open rooms may do, and acts on what has changed: who may no longer read, or whose role has changed, is told
 * to join again, and learns it from the answer. Members whose token lists their spaces keep them as long as it
 * is valid, and personal spaces never change hands.
 */
export async function recheckAccess(db: Queryable, members: Iterable<Member>): Promise<void> {
  const everybody = [...members];
  await recheckSpaces(db, everybody);
  await recheckSight(db, everybody);
}

/** Those who may no longer see the row that their room is about are told to join again, which is refused. */
async function recheckSight(db: Queryable, members: readonly Member[]): Promise<void> {
  if (members.length === 0) return;
  const ruled = await db.query<{ app_id: string; table_name: string }>("select * from perch.ruled_document_tables()");
  if (ruled.length === 0) return;
  const tableOf = (appId: string, tableName: string) => JSON.stringify([appId, tableName]);
  const tables = new Set(ruled.map(({ app_id, table_name }) => tableOf(app_id, table_name)));
  const groups = new Map<string, { admission: Admitted; lists: string | null; members: Member[] }>();
  for (const member of members) {
    const admission = member.admission();
    if (admission === undefined || !tables.has(tableOf(admission.key.appId, admission.key.tableName))) continue;
    const { userId, spaceIds, writableSpaceIds } = admission.identity;
    const lists = listsSpaces(admission.identity)
      ? JSON.stringify({ readable: spaceIds ?? null, writable: writableSpaceIds ?? null })
      : null;
    const name = JSON.stringify([userId, lists, documentId(admission.key)]);
    const group = groups.get(name) ?? { admission, lists, members: [] };
    group.members.push(member);
    groups.set(name, group);
  }
  const all = [...groups.values()];
  for (let start = 0; start < all.length; start += chunkSize) {
    const chunk = all.slice(start, start + chunkSize);
    const keys = chunk.map(({ admission }) => admission.key);
    const [row] = await db.query<{ sees: boolean[] }>(
      `select perch.documents_in_sight(user_ids => $1, lists => $2::text[]::jsonb[], space_ids => $3, app_ids => $4,
                                       table_names => $5, record_ids => $6) as sees`,
      [
        chunk.map(({ admission }) => admission.identity.userId),
        chunk.map(({ lists }) => lists),
        keys.map(({ spaceId }) => spaceId),
        keys.map(({ appId }) => appId),
        keys.map(({ tableName }) => tableName),
        keys.map(({ recordId }) => recordId),
      ],
    );
    for (const [index, group] of chunk.entries()) {
      if (row?.sees[index] === true) continue;
      for (const member of group.members) member.rejoin("you may no longer see this");
    }
  }
}

async function recheckSpaces(db: Queryable, members: readonly Member[]): Promise<void> {
  const groups = new Map<string, { userId: string; spaceId: string; members: Member[] }>();
  for (const member of members) {
    const admission = member.admission();
    if (admission === undefined) continue;
    const { userId } = admission.identity;
    const { spaceId } = admission.key;
    if (listsSpaces(admission.identity) || spaceId === personalSpaceId(userId)) continue;
    // No id contains a NUL.
    const name = `${userId}\0${spaceId}`;
    const group = groups.get(name) ?? { userId, spaceId, members: [] };
    group.members.push(member);
    groups.set(name, group);
  }
  const all = [...groups.values()];
  for (let start = 0; start < all.length; start += chunkSize) {
    const chunk = all.slice(start, start + chunkSize);
    const now = await accessOfMany(db, chunk);
    for (const [index, group] of chunk.entries()) {
      const access = now[index] ?? null;
      for (const member of group.members) {
        // Whose join is refused then.
        if (access === null) member.rejoin("you are no longer in this space");
        else if (access !== (member.admission()?.access ?? access)) {
          member.rejoin("your role has changed: join again");
        }
      }
    }
  }
}
