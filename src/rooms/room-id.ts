import type { DocumentKey } from "../documents/key.js";
import { personalSpaceId } from "../identity/identity.js";

/**
 * The document a room id names: `space_id/app_id/table_name/record_id`, each part percent-encoded, an empty first part being
 * the user's personal space. Undefined when the id is not of that form.
 */
export function addressOf(roomId: string, userId: string): DocumentKey | undefined {
  const parts = roomId.split("/");
  if (parts.length !== 4) return undefined;
  let decoded: string[];
  try {
    decoded = parts.map(decodeURIComponent);
  } catch {
    return undefined;
  }
  const [spaceId = "", appId, tableName, recordId] = decoded;
  // Postgres takes no NUL in text.
  if (!appId || !tableName || !recordId || decoded.some((part) => part.includes("\0"))) return undefined;
  return { spaceId: spaceId === "" ? personalSpaceId(userId) : spaceId, appId, tableName, recordId };
}
