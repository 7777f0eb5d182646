import { rolledBackTitle, type StoryResult, sqlTitle } from "./story.js";

export interface Finding {
  what: string;
  ok: boolean;
  detail: string;
}

/** Holds what was seen against what has to be. */
export function findings(result: StoryResult, endContent: string): Finding[] {
  const { texts, titles, crashes, consumer, stranger, shutdown } = result;
  const finding = (what: string, ok: boolean, detail = ""): Finding => ({ what, ok, detail });
  const allEqual = (values: object, expected: unknown) => Object.values(values).every((value) => value === expected);
  const last = consumer.changes.at(-1);
  return [
    finding(
      "both authors, a late reader, the stored document and its record hold the text that must result",
      allEqual(texts, endContent),
      `${endContent.length} characters`,
    ),
    finding(
      "every edit is stored, and none twice",
      String(result.typed) === String(result.stored) && result.refusals === 0,
    ),
    ...crashes.map(({ typed, acknowledged, stored, recoveryMs }, index) =>
      finding(
        `kill -9, ${index === 0 ? "once" : "twice"}: every acknowledged edit was there`,
        stored.every((count, author) => count >= (acknowledged[author] ?? 0)),
        `typed ${sum(typed)}, acknowledged ${sum(acknowledged)}, found ${sum(stored)}; all well again ${(recoveryMs / 1000).toFixed(1)} s after the start`,
      ),
    ),
    finding("an update pushed by plain SQL reached everybody", allEqual(titles, sqlTitle)),
    finding(
      "one that was rolled back reached nobody",
      !result.rolledBackSeen && !result.titlesSeen.has(rolledBackTitle),
    ),
    finding(
      "a consumer that listens was told on both channels, and pulled the change",
      consumer.notifications.some(({ channel }) => channel === "perch_changes") &&
        consumer.notifications.some(({ channel }) => channel === "perch_documents") &&
        last?.data.body === endContent,
      `${consumer.notifications.length} notifications, ${consumer.changes.length} changes, the last with seq ${last?.seq}`,
    ),
    finding(
      "a stranger could not join, read, write, or hear anything but ids and numbers",
      stranger.join !== "let in" &&
        stranger.records + stranger.changes === 0 &&
        typeof stranger.document !== "number" &&
        stranger.push === "PE403" &&
        consumer.notifications.every(({ payload }) => isBare(payload)),
      `${stranger.join}; ${stranger.document}; ${stranger.push}`,
    ),
    finding("it stops cleanly", shutdown.code === 0 && shutdown.ms < 5_000, `${(shutdown.ms / 1000).toFixed(1)} s`),
  ];
}

const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);

const bareKeys = new Set(["v", "space_id", "app_id", "table", "id", "seq"]);

/** Whether a notification carries ids and numbers only. */
export function isBare(payload: string): boolean {
  return Object.keys(JSON.parse(payload) as object).every((key) => bareKeys.has(key));
}
