import type { Logger } from "pino";
import { z } from "zod";
import type { Database } from "../../database/types.js";
import { listenSteadily } from "../../notifications/listen.js";
import type { NotificationSource } from "./feed.js";

const notificationSchema = z.object({ v: z.literal(1), space_id: z.string(), seq: z.number() });

/** Notifications by a LISTEN of one's own, for a gateway beside which no worker listens. It begins when it is first asked for. */
export function changeNotifications(db: Database, log: Logger): NotificationSource {
  return (notified, ready) => {
    const notify = (_channel: string, payload: string) => {
      const { data } = notificationSchema.safeParse(parsed(payload));
      if (data !== undefined) notified(data.space_id, data.seq);
    };
    const stop = listenSteadily(db, ["perch_changes"], { notify, ready }, log);
    return () => {
      stop().catch((error: unknown) => log.warn({ err: error }, "streams: listening did not end well"));
    };
  };
}

function parsed(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return undefined;
  }
}
