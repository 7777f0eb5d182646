import { z } from "zod";

/**
 * What a notification said. A hint, sent by whoever can connect to the database: it never says more than where to look.
 *
 * perch_changes    the log of a space has come so far, or its members have changed
 * perch_documents  this position of a document is taken, in its tail or in its inbox; `refusedAfter`: the table that has it in its columns did not
 *                  take what was written behind that position, up to `seq`
 * perch_captured   synced tables were written to, and whoever gives out numbers has some to give
 * perch_presence   presence has changed (`seq`), or a node has come that knows nothing of it (`node`)
 */
export type Notification =
  | { readonly channel: "perch_changes"; readonly spaceId: string; readonly seq: number }
  | {
      readonly channel: "perch_documents";
      readonly key: RecordKey;
      readonly seq: number;
      readonly refusedAfter?: number;
    }
  | { readonly channel: "perch_captured" }
  | { readonly channel: "perch_presence"; readonly seq: number | undefined; readonly node: boolean };

export interface RecordKey {
  readonly spaceId: string;
  readonly appId: string;
  readonly tableName: string;
  readonly recordId: string;
}

const id = z.string().min(1).max(1_024);
const seq = z.int().nonnegative();
const v = z.literal(1);

const payloads = {
  perch_changes: z
    .object({ v, space_id: id, seq })
    .transform((it): Notification => ({ channel: "perch_changes", spaceId: it.space_id, seq: it.seq })),
  perch_documents: z
    .object({ v, space_id: id, app_id: id, table: id, id, seq, refused_after: seq.optional() })
    .transform((it): Notification => {
      const key = { spaceId: it.space_id, appId: it.app_id, tableName: it.table, recordId: it.id };
      const refused = it.refused_after === undefined ? {} : { refusedAfter: it.refused_after };
      return { channel: "perch_documents", key, seq: it.seq, ...refused };
    }),
  perch_captured: z.object({ v }).transform((): Notification => ({ channel: "perch_captured" })),
  perch_presence: z
    .object({ v, seq: seq.optional(), node: z.literal(true).optional() })
    .transform((it): Notification => ({ channel: "perch_presence", seq: it.seq, node: it.node === true })),
};

/** The channels that perch notifies on. */
export const channels = Object.keys(payloads) as readonly Notification["channel"][];

/** In: a notification as it came. Out: undefined when it is none of ours: anybody may NOTIFY anything. */
export function parseNotification(channel: string, payload: string): Notification | undefined {
  const known = channels.find((name) => name === channel);
  try {
    return known && payloads[known].safeParse(JSON.parse(payload)).data;
  } catch {
    return undefined;
  }
}
