import { isId } from "../database/text.js";
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
  const [spaceId = "", appId = "", tableName = "", recordId = ""] = decoded;
  const address = { spaceId: spaceId === "" ? personalSpaceId(userId) : spaceId, appId, tableName, recordId };
  return Object.values(address).every((part) => isId(part)) ? address : undefined;
}
