import type { Queryable } from "../database/types.js";
import { accessOfMany } from "../identity/access.js";
import { listsSpaces, personalSpaceId } from "../identity/identity.js";
import { roomErrorCode } from "../protocol/protocol.js";
import type { Membership } from "./membership.js";

/** How many memberships one statement looks up. */
const chunkSize = 1_000;

/**
 * Checks again what the members of open rooms may do, and acts on what has changed: who may no longer read is evicted; whose role
 * changed is told to join again, and learns it from the answer. Members whose token lists their spaces keep them as long as it
 * is valid, and personal spaces never change hands.
 */
export async function recheckAccess(db: Queryable, members: Iterable<Membership>): Promise<void> {
  const groups = new Map<string, { userId: string; spaceId: string; members: Membership[] }>();
  for (const member of members) {
    const admission = member.admission();
    if (admission === undefined) continue;
    const { userId } = admission.identity;
    const { spaceId } = admission.key;
    if (listsSpaces(admission.identity) || spaceId === personalSpaceId(userId)) continue;
    // No id contains a NUL.
    const name = `${userId}\0${spaceId}`;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, { userId, spaceId, members: [member] });
    else group.members.push(member);
  }
  const all = [...groups.values()];
  for (let start = 0; start < all.length; start += chunkSize) {
    const chunk = all.slice(start, start + chunkSize);
    const now = await accessOfMany(db, chunk);
    for (const [index, group] of chunk.entries()) {
      const access = now[index] ?? null;
      for (const member of group.members) {
        if (access === null) member.dismiss(roomErrorCode.evicted, "you are no longer in this space");
        else if (access !== (member.admission()?.access ?? access)) {
          member.dismiss(roomErrorCode.rejoinSuggested, "your role has changed: join again");
        }
      }
    }
  }
}
