import { writableBy } from "../../identity/identity.js";
import type { Author } from "./types.js";

/** Authors with the same name may write the same, for the same reason. */
export function authorName(author: Author, spaceId: string, writable = writableBy(author, spaceId)): string {
  return `${writable} ${author.userId}`;
}
