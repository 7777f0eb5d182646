import type { Database, Subscription } from "../../src/database/types.js";
import { withContext } from "../../src/identity/context.js";

export interface PulledChange {
  space_id: string;
  seq: number;
  op: string;
  table: string;
  id: string;
  data: Record<string, unknown>;
}

/** A program that knows SQL and nothing else: it listens, and pulls when it is told. */
export interface Consumer {
  readonly notifications: { channel: string; payload: string }[];
  readonly changes: PulledChange[];
  close(): Promise<void>;
}

interface Page {
  changes: PulledChange[];
  cursor: unknown;
  has_more: boolean;
}

/** Listens on both channels and follows the changes of an app as `userId`; what it missed while cut off it pulls afterwards. */
export async function followBySql(db: Database, appId: string, userId: string): Promise<Consumer> {
  const notifications: Consumer["notifications"] = [];
  const changes: PulledChange[] = [];
  let cursor: unknown = {};
  let pulling: Promise<void> | undefined;
  let again = false;
  let closed = false;

  async function pullAll(): Promise<void> {
    do {
      again = false;
      const [row] = await withContext(db, { userId }, (tx) =>
        tx.query<{ page: Page }>("select perch.pull(app_id => $1, cursor => $2::jsonb) as page", [
          appId,
          JSON.stringify(cursor),
        ]),
      );
      if (row === undefined) return;
      changes.push(...row.page.changes);
      cursor = row.page.cursor;
      again ||= row.page.has_more;
    } while (again && !closed);
  }

  function pull(): void {
    again = true;
    if (closed) return;
    // Cut off in the middle: the next ready() pulls again, from the same cursor.
    pulling ??= pullAll()
      .catch(() => undefined)
      .finally(() => {
        pulling = undefined;
      });
  }

  const subscription: Subscription = await db.listen(["perch_changes", "perch_documents"], {
    ready: pull,
    notify(channel, payload) {
      notifications.push({ channel, payload });
      if (channel === "perch_changes") pull();
    },
  });
  return {
    notifications,
    changes,
    async close() {
      closed = true;
      await subscription.close();
      await pulling;
    },
  };
}
