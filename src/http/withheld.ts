import type { Logger } from "pino";
import { z } from "zod";
import { remember } from "../lib/bounded-map.js";

const tail = /,"withheld":(\{[^{}"]*"too_large"[^{}"]*"upgrade_failed"[^{}"]*\})\}$/;
const tailLength = 120;
const countsSchema = z.object({ too_large: z.number(), upgrade_failed: z.number() });

/** One line in the log for each reason and app within this time. */
const everyMs = 60_000;
/** So many apps are remembered; the one told of longest ago is forgotten first, and then told of again. */
const maxApps = 1_000;

export interface Withheld {
  /** An answer of pull or snapshot, as JSON text, goes to a reader of an app. */
  answered(answer: string, appId: unknown): void;
}

/**
 * Tells the operator of what readers were not given: entries that are too large, and those that an upgrade cannot lift. How many there
 * are stands at the end of an answer, where no content of a user can be: the answer is not read for it.
 */
export function createWithheld(count: (reason: string, count: number) => void, log: Logger): Withheld {
  const toldAt = new Map<string, number>();

  function tell(reason: string, appId: string, count: number): void {
    const key = `${reason} ${appId}`;
    const now = Date.now();
    if (now - (toldAt.get(key) ?? Number.NEGATIVE_INFINITY) < everyMs) return;
    remember(toldAt, key, now, maxApps);
    const what =
      reason === "too_large"
        ? "changes or records are longer than an answer may be, and went to a reader without their content; perch.set_limit raises max_page_bytes"
        : "an upgrade of a schema version failed on changes or records, which went to a reader without their content; perch doctor names them, and perch.register_upgrade mends it";
    log.warn({ reason, appId, count }, what);
  }

  return {
    answered(answer, appId) {
      const [, json] = tail.exec(answer.slice(-tailLength)) ?? [];
      if (json === undefined) return;
      for (const [reason, found] of Object.entries(countsSchema.parse(JSON.parse(json)))) {
        if (found === 0) continue;
        count(reason, found);
        tell(reason, String(appId), found);
      }
    },
  };
}
