/** Who is asking. One of the two lists given: the lists are the memberships; else `perch.space_members` is. */
export interface Identity {
  readonly userId: string;
  /** The spaces this user may read; the personal space is always included. */
  readonly spaceIds?: readonly string[] | undefined;
  /** Those that may be written, which may then also be read. With `spaceIds` alone only the personal space is writable. */
  readonly writableSpaceIds?: readonly string[] | undefined;
}

/** The space that belongs to a user alone. As `perch.personal_space_id`. */
export function personalSpaceId(userId: string): string {
  return `~${userId}`;
}

/** Whether an identity says itself which spaces its user is in. Then they stay as long as it is valid. */
export function listsSpaces({ spaceIds, writableSpaceIds }: Identity): boolean {
  return spaceIds !== undefined || writableSpaceIds !== undefined;
}

/** What an identity says of its user's right to write; null when the memberships in the database decide. */
export function writableBy(identity: Identity, spaceId: string): boolean | null {
  return listsSpaces(identity) ? (identity.writableSpaceIds?.includes(spaceId) ?? false) : null;
}
