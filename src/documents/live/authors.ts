import type { Author } from "./types.js";

/** What a token says of the author's right to write; null when memberships are read in the append itself. */
export function writableFor(author: Author, spaceId: string): boolean | null {
  if (author.spaceIds === undefined && author.writableSpaceIds === undefined) return null;
  return author.writableSpaceIds?.includes(spaceId) ?? false;
}

/** Authors with the same name may write the same, for the same reason. */
export function authorName(author: Author, spaceId: string, writable = writableFor(author, spaceId)): string {
  return `${writable} ${author.userId}`;
}
