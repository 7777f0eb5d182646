import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isBare } from "../../scripts/demo/findings.js";
import { replayInMemory } from "../../scripts/demo/replay.js";
import { type Schedule, scheduleOf } from "../../scripts/demo/schedule.js";
import { embeddedStage, ownPostgresStage, type Stage } from "../../scripts/demo/stage.js";
import { playStory, rolledBackTitle, type StoryResult, sqlTitle } from "../../scripts/demo/story.js";
import { concurrentTrace } from "../support/traces.js";

/** Enough to be killed in twice; `npm run demo` replays the whole session. */
const keystrokes = 1_000;

function beginning(): Schedule {
  const whole = scheduleOf(concurrentTrace());
  let edits = 0;
  for (let typed = 0; typed < keystrokes && edits < whole.steps.length; edits++) {
    typed += whole.steps[edits]?.patches.length ?? 0;
  }
  return { steps: whole.steps.slice(0, edits), endContent: replayInMemory(whole, edits, "body") };
}

it("replays the whole recorded session to exactly the text it ended with", () => {
  const whole = scheduleOf(concurrentTrace());
  expect(replayInMemory(whole, whole.steps.length, "body")).toBe(whole.endContent);
});

const stages: [string, () => Promise<Stage>][] = [
  ["PGlite", embeddedStage],
  ["Postgres 18", ownPostgresStage],
];

describe.each(stages)("two people writing one document through perch on %s", (_, open) => {
  const schedule = beginning();
  let stage: Stage;
  let result: StoryResult;

  beforeAll(async () => {
    stage = await open();
    try {
      result = await playStory({ stage, schedule, ahead: 8 });
    } catch (error) {
      throw new Error(`perch printed:\n${stage.perch.output}`, { cause: error });
    }
  }, 300_000);

  afterAll(() => stage?.close());

  it("ends with exactly the text of the session on both screens, for a late reader, in the store and in the record", () => {
    const { endContent } = schedule;
    expect(result.texts).toEqual({
      ann: endContent,
      ben: endContent,
      late: endContent,
      stored: endContent,
      record: endContent,
    });
  });

  it("has every acknowledged edit after kill -9, in the middle of the typing, twice", () => {
    expect(result.crashes).toHaveLength(2);
    for (const { acknowledged, stored, typed } of result.crashes) {
      for (const author of [0, 1] as const) {
        expect(stored[author]).toBeGreaterThanOrEqual(acknowledged[author]);
        expect(stored[author]).toBeLessThanOrEqual(typed[author]);
      }
    }
  });

  it("stores what was typed while it was away, and nothing twice, once the clients came back by themselves", () => {
    expect(result.stored).toEqual(result.typed);
    expect(result.refusals).toBe(0);
  });

  it("brings an update pushed by plain SQL in the middle of the typing to everybody", () => {
    const title = sqlTitle;
    expect(result.titles).toEqual({ ann: title, ben: title, late: title, stored: title, record: title });
  });

  it("shows an update that was rolled back to nobody", () => {
    expect(result.rolledBackSeen).toBe(false);
    expect(result.titlesSeen).not.toContain(rolledBackTitle);
  });

  it("tells a consumer that listens on both channels, who pulls the change with its seq", () => {
    const { notifications, changes } = result.consumer;
    expect(new Set(notifications.map(({ channel }) => channel))).toEqual(new Set(["perch_changes", "perch_documents"]));
    expect(changes.at(-1)?.data.body).toBe(schedule.endContent);
    const seqs = changes.map(({ seq }) => seq);
    expect(seqs).toEqual([...seqs].sort((one, other) => one - other));
    expect(new Set(seqs).size).toBe(seqs.length);
  });

  it("lets another user neither join nor read nor write, and whoever listens hears ids and numbers only", () => {
    expect(result.stranger).toEqual({
      join: expect.stringContaining("forbidden"),
      records: 0,
      changes: 0,
      document: "PE403",
      push: "PE403",
    });
    expect(result.consumer.notifications.filter(({ payload }) => !isBare(payload))).toEqual([]);
  });

  it("stops cleanly within 5 seconds while clients are connected", () => {
    expect(result.shutdown.code).toBe(0);
    expect(result.shutdown.ms).toBeLessThan(5_000);
  });
});
