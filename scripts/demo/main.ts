import { parseArgs } from "node:util";
import { concurrentTrace } from "../../test/support/traces.js";
import { figure, quantile, table } from "../support/figures.js";
import { findings } from "./findings.js";
import { replayInMemory } from "./replay.js";
import { type Schedule, scheduleOf } from "./schedule.js";
import { embeddedStage, ownPostgresStage, postgresStage, type Stage } from "./stage.js";
import { type Measures, pickInterruptions, playStory } from "./story.js";

const help = `Usage: npm run demo [-- options]

Two people write one document together, letter by letter, as they once did. Meanwhile plain SQL edits it, a consumer
follows by LISTEN, a stranger tries to get in, and the server is killed twice. Then all copies are compared.

  --database URL    a Postgres database to play in, "postgres" for an own Postgres 18,
                    or "embedded"; default: the last two, one after the other
  --edits N         only the first N edits
  --keep            leave perch running when all is done, to look at what was made in the console; of the first
                    database alone, until Ctrl-C, and its data stays (but for an own Postgres)
  --ahead N         how many edits an author may be ahead of the other's screen; default 1,
                    a typist who waits for each letter to arrive

The session is \`friendsforever\` of the editing-traces collection where PERCH_TRACES names the folder with it,
otherwise a generated one of the same shape.
`;

const count = (text: string, name: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} must be a whole number from 1`);
  return value;
};

function stages(database: string | undefined): (() => Promise<Stage>)[] {
  if (database === undefined) return [embeddedStage, ownPostgresStage];
  if (database === "embedded") return [embeddedStage];
  if (database === "postgres") return [ownPostgresStage];
  return [() => postgresStage(database, "Postgres")];
}

/** The first `edits` of the session, and the text that must result. */
function sessionOf(edits: number): Schedule {
  const whole = scheduleOf(concurrentTrace());
  if (edits >= whole.steps.length) return whole;
  return { steps: whole.steps.slice(0, edits), endContent: replayInMemory(whole, edits, "body") };
}

function progress(total: number): (typed: number, what: string) => void {
  const interactive = process.stdout.isTTY === true;
  let last = "";
  return (typed, what) => {
    const line = `  ${String(Math.floor((100 * typed) / total)).padStart(3)} %  ${what}`;
    if (interactive) {
      process.stdout.write(`\r\x1b[K${line}${what === "typing" ? "" : "\n"}`);
    } else if (what !== last || Math.floor((10 * typed) / total) !== Math.floor((10 * (typed - 500)) / total)) {
      process.stdout.write(`${line}\n`);
    }
    last = what;
  };
}

function row(name: string, measures: Measures): string[] {
  const { edits, seconds, latencies, wireBytesUp, wireBytesDown, storedBytes, walBytes } = measures;
  return [
    name,
    figure(edits),
    figure(edits / seconds),
    figure(quantile(latencies, 0.5), "ms"),
    figure(quantile(latencies, 0.99), "ms"),
    figure(wireBytesUp / edits, "B"),
    figure(wireBytesDown / edits, "B"),
    figure(storedBytes / edits, "B"),
    figure(walBytes / edits, "B"),
  ];
}

const heading = ["", "edits", "edits/s", "p50", "p99", "sent", "received", "stored", "database log"];

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      database: { type: "string" },
      edits: { type: "string" },
      ahead: { type: "string", default: "1" },
      keep: { type: "boolean", default: false },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help === true) {
    process.stdout.write(help);
    return 0;
  }
  const schedule = sessionOf(values.edits === undefined ? Number.POSITIVE_INFINITY : count(values.edits, "edits"));
  const ahead = count(values.ahead, "ahead");
  if (pickInterruptions(schedule) === undefined) {
    process.stderr.write("--edits is too few for the server to be killed twice amid them: take some hundred\n");
    return 2;
  }
  // What was started ends with this process, which it does not when a signal ends that.
  const interrupted = () => process.exit(130);
  process.once("SIGINT", interrupted);

  const rows: string[][] = [];
  let wrong = 0;
  const chosen = stages(values.database);
  let kept: Stage | undefined;
  for (const open of values.keep ? chosen.slice(0, 1) : chosen) {
    const stage = await open();
    try {
      process.stdout.write(`${stage.name}\n`);
      const onProgress = progress(schedule.steps.length);
      const result = await playStory({ stage, schedule, ahead, onProgress });
      process.stdout.write("\n");
      for (const { what, ok, detail } of findings(result, schedule.endContent)) {
        if (!ok) wrong += 1;
        process.stdout.write(`  ${ok ? "✓" : "✗"} ${what}${detail === "" ? "" : ` (${detail})`}\n`);
      }
      process.stdout.write("\n");
      rows.push(row(stage.name, result.measures));
      if (values.keep) kept = stage;
    } catch (error) {
      process.stdout.write(`\n${stage.perch.output}\n`);
      throw error;
    } finally {
      if (kept !== stage) await stage.close();
    }
  }
  process.stdout.write(`${table([heading, ...rows])}\n\n`);
  process.stdout.write(
    "p50, p99: from the keystroke to the other client, after the commit. Bytes are for each edit: on the wires of both authors,\nkept for the document with its whole history, and written to the database's log with records, change log and folding.\n",
  );
  if (kept !== undefined) {
    process.off("SIGINT", interrupted);
    await show(kept);
  } else
    process.stdout.write(
      "\nWith --keep it goes on, and its console shows what was made: spaces, the document and its history, the log.\n",
    );
  return wrong === 0 ? 0 : 1;
}

/** Leaves it to be looked at, until Ctrl-C; then says how it is started again. */
async function show(stage: Stage): Promise<void> {
  const { perch } = stage;
  await perch.start();
  process.stdout.write(`\nLook around: ${perch.httpUrl}/console/\nCtrl-C ends it.\n`);
  await new Promise<void>((asked) => process.once("SIGINT", () => asked()));
  const again = await stage.close(true);
  process.stdout.write(again === undefined ? "\n" : `\nThe data stays: ${again}\n`);
}

process.exit(await main());
