import { z } from "zod";
import type { DocumentKey } from "../documents/key.js";

/** What a notification said. A hint, sent by whoever can connect to the database: it never says more than where to look. */
export type Notification =
  | { readonly channel: "perch_changes"; readonly spaceId: string; readonly seq: number }
  | { readonly channel: "perch_documents"; readonly key: DocumentKey; readonly seq: number };

export const channels = ["perch_changes", "perch_documents"] as const;

const id = z.string().min(1).max(1_024);
const seq = z.int().nonnegative();
const changes = z.object({ v: z.literal(1), space_id: id, seq });
const documents = z.object({ v: z.literal(1), space_id: id, app_id: id, table: id, id, seq });

/** In: a notification as it came. Out: undefined when it is none of ours. */
export function parseNotification(channel: string, payload: string): Notification | undefined {
  let json: unknown;
  try {
    json = JSON.parse(payload);
  } catch {
    return undefined;
  }
  if (channel === "perch_changes") {
    const { data } = changes.safeParse(json);
    return data && { channel, spaceId: data.space_id, seq: data.seq };
  }
  if (channel === "perch_documents") {
    const { data } = documents.safeParse(json);
    if (!data) return undefined;
    const key = { spaceId: data.space_id, appId: data.app_id, tableName: data.table, recordId: data.id };
    return { channel, key, seq: data.seq };
  }
  return undefined;
}
