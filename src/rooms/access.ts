import type { Queryable } from "../database/types.js";
import type { DocumentKey } from "../documents/key.js";
import { accessOfMany } from "../identity/access.js";
import { listsSpaces, personalSpaceId } from "../identity/identity.js";
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
  accessTo: (identity: TokenIdentity, spaceId: string) => Promise<Permission | null>,
): Promise<Admitted> {
  const key = roomId === undefined ? undefined : addressOf(roomId, identity.userId);
  if (key === undefined) {
    const why = "a room id is space_id/app_id/table_name/record_id";
    throw new JoinRefused(joinErrorCode.appError, why, { appCode: "invalid" });
  }
  const access = await accessTo(identity, key.spaceId);
  if (access === null) throw new JoinRefused(joinErrorCode.authFailed, "forbidden: you are not in this space");
  return { identity, key, access };
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
