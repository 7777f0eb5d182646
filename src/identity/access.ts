import type { Queryable } from "../database/types.js";
import type { Permission } from "../protocol/protocol.js";
import { type Identity, personalSpaceId } from "./identity.js";

/** What a user may do in a space: null for nothing. The rule is the database's, which is not asked whose a personal space is. */
export async function accessTo(db: Queryable, identity: Identity, spaceId: string): Promise<Permission | null> {
  if (spaceId === personalSpaceId(identity.userId)) return "write";
  const [row] = await db.query<{ access: Permission | null }>(
    `select perch.document_access(user_id => $1, space_id => $2, space_ids => $3::text[],
                                  writable_space_ids => $4::text[]) as access`,
    [identity.userId, spaceId, identity.spaceIds ?? null, identity.writableSpaceIds ?? null],
  );
  return row?.access ?? null;
}

export interface SpaceMembership {
  readonly userId: string;
  readonly spaceId: string;
}

/** The same for many at once, by `space_members` alone. Out: one for each, in their order. */
export async function accessOfMany(
  db: Queryable,
  memberships: readonly SpaceMembership[],
): Promise<(Permission | null)[]> {
  const rows = await db.query<{ access: Permission | null }>(
    "select * from perch.access_of_many(user_ids => $1, space_ids => $2)",
    [memberships.map(({ userId }) => userId), memberships.map(({ spaceId }) => spaceId)],
  );
  return rows.map(({ access }) => access);
}
