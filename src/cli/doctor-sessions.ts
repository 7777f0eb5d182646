import { pinnedSettings } from "../database/session.js";
import type { Database } from "../database/types.js";
import type { Finding } from "./finding.js";

/** What the login's sessions begin with, where perch sets it otherwise: your own programs of this login have it as it is. */
export async function settings(db: Database): Promise<Finding[]> {
  const name = "settings";
  const rows = await db.query<{ name: string; value: string; login: string }>(
    `select s.name, s.reset_val as value, session_user::text as login from pg_settings s
      where s.name = any ($1::text[]) or s.name = 'default_transaction_read_only' and s.reset_val = 'on' order by s.name`,
    [Object.keys(pinnedSettings)],
  );
  // DateStyle also says the order of day and month, which is free.
  const odd = rows.filter(({ name: setting, value }) => value.split(",")[0] !== pinnedSettings[setting]);
  if (odd.length === 0) return [{ name, level: "ok", detail: "the login's are the usual ones", remedy: null }];
  return odd.map(({ name: setting, value, login }) => {
    const remedy = `alter role "${login}" reset ${setting}, or the same for the database or in postgresql.conf`;
    if (setting === "default_transaction_read_only") {
      return { name, level: "error", detail: `${login} takes no writes: ${setting} is on`, remedy };
    }
    const detail = `${setting} is ${value}; perch's own connections set ${pinnedSettings[setting]}, other programs of ${login} have it`;
    return { name, level: "warning", detail, remedy };
  });
}

/** Longer than any commit takes that will end. */
const slowSeconds = 5;

export async function commits(db: Database): Promise<Finding[]> {
  const name = "commits";
  const [row] = await db.aside.query<{ waiting: number; seconds: number | null }>(
    `select count(*) as waiting, extract(epoch from clock_timestamp() - min(a.query_start))::float8 as seconds
       from pg_stat_get_activity(null) a where a.wait_event = 'SyncRep'`,
  );
  const { waiting = 0, seconds = 0 } = row ?? {};
  if ((seconds ?? 0) < slowSeconds) return [{ name, level: "ok", detail: "none waits for a standby", remedy: null }];
  return [
    {
      name,
      level: "error",
      detail: `${waiting} wait for a synchronous standby, the oldest for ${Math.round(seconds ?? 0)} s`,
      remedy: "bring the standby back, or take it out of synchronous_standby_names and reload",
    },
  ];
}

export async function notificationQueue(db: Database): Promise<Finding[]> {
  const name = "notification queue";
  const [row] = await db.aside.query<{ usage: number }>("select pg_notification_queue_usage() as usage");
  const usage = row?.usage ?? 0;
  const detail = `${Math.round(usage * 100)} % full`;
  if (usage < 0.25) return [{ name, level: "ok", detail, remedy: null }];
  return [
    {
      name,
      level: usage < 0.9 ? "warning" : "error",
      detail: `${detail}: a session that listens stays in a transaction; once it is full, commits that notify fail`,
      remedy:
        "find it: select pid, application_name, xact_start from pg_stat_activity order by xact_start limit 5; end it: select pg_terminate_backend(pid); where none is in a transaction, have whatever else listens connect anew: perch's processes do so by themselves",
    },
  ];
}
