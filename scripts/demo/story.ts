import type { LoroDoc, PeerID } from "loro-crdt";
import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/context.js";
import { type Author, counterOf, openAuthor } from "./author.js";
import { type Consumer, followBySql } from "./consumer.js";
import { type Place, pushTitle, readRecord, readStored, roomOf } from "./document.js";
import { createProgress, createReplay, type Replay } from "./replay.js";
import { interruptions, type Schedule } from "./schedule.js";
import type { Stage } from "./stage.js";
import { type StrangerFindings, tryAsStranger } from "./stranger.js";

export const sqlTitle = "Written by plain SQL";
export const rolledBackTitle = "Never committed";

export interface StoryOptions {
  stage: Stage;
  schedule: Schedule;
  /** How many edits an author may be ahead of the other's screen. */
  ahead: number;
  onProgress?: (typed: number, what: string) => void;
}

/** What the server had said was stored when it was killed, and what was found in the database then; operations of each author. */
export interface Crash {
  typed: [number, number];
  acknowledged: [number, number];
  stored: [number, number];
  /** Until both clients had come back by themselves and everything typed meanwhile was stored. */
  recoveryMs: number;
}

export interface StoryResult {
  texts: { ann: string; ben: string; late: string; stored: string; record: unknown };
  titles: { ann: unknown; ben: unknown; late: unknown; stored: unknown; record: unknown };
  /** Every title that a client or the consumer was shown at any time. */
  titlesSeen: Set<unknown>;
  /** Whether anybody holds operations of the update that was rolled back. */
  rolledBackSeen: boolean;
  /** Operations each author typed, and how many of theirs are stored at the end. */
  typed: [number, number];
  stored: [number, number];
  refusals: number;
  crashes: Crash[];
  consumer: Pick<Consumer, "notifications" | "changes">;
  stranger: StrangerFindings;
  shutdown: { code: number | null; ms: number };
  measures: Measures;
}

export interface Measures {
  edits: number;
  /** Time spent typing, restarts not counted. */
  seconds: number;
  latencies: readonly number[];
  wireBytesUp: number;
  wireBytesDown: number;
  /** What the document takes in the database at the end. */
  storedBytes: number;
  /** What was written to the database's log for it all. */
  walBytes: number;
}

type Authors = readonly [Author, Author];

/**
 * The main job from beginning to end: two people write one document through a server that is killed twice, while SQL edits it,
 * a consumer follows, and a stranger tries to get in. Reports what was seen and judges nothing.
 */
export async function playStory({ stage, schedule, ahead, onProgress }: StoryOptions): Promise<StoryResult> {
  const { perch } = stage;
  const steps = schedule.steps.length;
  const tag = Date.now().toString(36);
  const place: Place = { spaceId: `friends-${tag}`, appId: "demo", tableName: "notes", recordId: `episode-${tag}` };
  const say = (what: string) => onProgress?.(replay?.typed ?? 0, what);
  let replay: Replay | undefined;
  let db: Database | undefined;
  let consumer: Consumer | undefined;
  const people: Author[] = [];
  const open = async (user: string): Promise<Author> => {
    const author = await openAuthor({ url: perch.url, roomId: roomOf(place), token: `${user}-${tag}`, field: "body" });
    people.push(author);
    return author;
  };
  const [ann, ben, cleo, mallory] = ["ann", "ben", "cleo", "mallory"].map((name) => `${name}-${tag}`) as [
    string,
    string,
    string,
    string,
  ];

  try {
    say("starting perch");
    await perch.start();
    db = stage.connect();
    await prepare(db, place, ann, { [ben]: "editor", [cleo]: "viewer" });
    consumer = await followBySql(db, place.appId, ann);
    const authors: Authors = [await open("ann"), await open("ben")];
    const titlesSeen = new Set<unknown>();
    for (const { doc } of authors) doc.subscribe(() => titlesSeen.add(titleOf(doc)));
    const typing = createReplay(schedule, authors);
    replay = typing;
    const wal = await walPosition(db);

    let seconds = 0;
    const type = async (from: number, to: number) => {
      const started = performance.now();
      // In pieces, so that there is something to report in between.
      for (let at = from; at < to; at += 500) {
        await typing.type(at, Math.min(to, at + 500), ahead);
        say("typing");
      }
      seconds += (performance.now() - started) / 1000;
    };

    const crashes: Crash[] = [];
    let at = 0;
    let rolledBackPeer = "";
    for (const [index, { from, to }] of (pickInterruptions(schedule) ?? []).entries()) {
      const middle = Math.floor((at + from) / 2);
      await type(at, middle);
      const sql = db;
      const push = async () => {
        if (index === 0) return pushTitle(sql, place, ann, sqlTitle);
        rolledBackPeer = await pushTitle(sql, place, ann, rolledBackTitle, { rollBack: true });
      };
      say(index === 0 ? "an update by plain SQL" : "an update by plain SQL, rolled back");
      await Promise.all([type(middle, from), push()]);
      say("kill -9");
      crashes.push(await crash({ stage, place, reader: ann, authors, replay: typing, from, to }));
      say("back again");
      at = to;
    }
    await type(at, steps);
    await typing.settle();

    say("somebody joins late");
    const late = await open("cleo");
    await late.room.waitForReachingServerVersion();
    const text = authors[0].text();
    const progress = createProgress();
    const seen = consumer;
    const sql = db;
    let record: Record<string, unknown> | undefined;
    for (let tries = 0; tries < 200; tries++) {
      record = await readRecord(sql, place, ann);
      if (record?.body === text) break;
      await new Promise((done) => setTimeout(done, 50));
    }
    await progress
      .until(() => seen.changes.at(-1)?.data.body === text, "the last change to be pulled")
      // Should it never come, the findings say what was pulled.
      .catch(() => undefined);
    for (const { data } of seen.changes) titlesSeen.add(data.title);
    const walBytes = (await walPosition(db)) - wal;

    say("a stranger tries");
    const stranger = await tryAsStranger(db, perch.url, place, mallory);
    const { doc: stored, bytes: storedBytes } = await readStored(db, place, ann);
    const [first, second] = authors;
    const result = {
      texts: { ann: first.text(), ben: second.text(), late: late.text(), stored: bodyOf(stored), record: record?.body },
      titles: {
        ann: titleOf(first.doc),
        ben: titleOf(second.doc),
        late: titleOf(late.doc),
        stored: titleOf(stored),
        record: record?.title,
      },
      titlesSeen,
      rolledBackSeen: [first.doc, second.doc, late.doc, stored].some(
        (doc) => counterOf(doc, rolledBackPeer as PeerID) > 0,
      ),
      typed: countersOf(authors),
      stored: operationsIn(stored, authors),
      refusals: first.refusals.length + second.refusals.length,
      crashes,
      consumer: { notifications: seen.notifications, changes: seen.changes },
      stranger,
      measures: {
        edits: typing.typed,
        seconds,
        latencies: typing.latencies,
        wireBytesUp: first.line.bytes.sent + second.line.bytes.sent,
        wireBytesDown: first.line.bytes.received + second.line.bytes.received,
        storedBytes,
        walBytes,
      },
    };
    say("stopping perch");
    for (const person of people) person.leaveWithServer();
    return { ...result, shutdown: await perch.stop() };
  } finally {
    for (const person of people) person.leave();
    await consumer?.close();
    await db?.close();
  }
}

const titleOf = (doc: LoroDoc) => doc.getMap("fields").get("title");
const bodyOf = (doc: LoroDoc) => doc.getText("body").toString();
const countersOf = (authors: Authors): [number, number] => [
  authors[0].counters.at(-1) ?? 0,
  authors[1].counters.at(-1) ?? 0,
];
const operationsIn = (doc: LoroDoc, authors: Authors): [number, number] => [
  counterOf(doc, authors[0].peer),
  counterOf(doc, authors[1].peer),
];

/** What a DBA and the owner of a space do once. */
async function prepare(db: Database, place: Place, owner: string, members: Record<string, string>): Promise<void> {
  await db.query("select perch.declare_table(app_id => $1, table_name => $2, fields => $3::jsonb)", [
    place.appId,
    place.tableName,
    JSON.stringify({ title: "string", body: "text" }),
  ]);
  await withContext(db, { userId: owner }, async (tx) => {
    await tx.query("select perch.create_space(space_id => $1)", [place.spaceId]);
    for (const [user, role] of Object.entries(members)) {
      await tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => $3)", [
        place.spaceId,
        user,
        role,
      ]);
    }
  });
}

/**
 * Two places in the session, a third and two thirds through, at which the server may die, each with some edits to die in: both authors have
 * caught up with one another behind them. Undefined when it is too short for that.
 */
export function pickInterruptions(schedule: Schedule): { from: number; to: number }[] | undefined {
  for (const quiet of [40, 20, 10, 6, 4, 2]) {
    const found = interruptions(schedule, quiet);
    const picked = [1 / 3, 2 / 3].map((share) => found.find((to) => to - quiet >= share * schedule.steps.length));
    if (picked[0] === undefined || picked[1] === undefined || picked[1] - quiet <= picked[0]) continue;
    return [picked[0], picked[1]].map((to) => ({ from: to - quiet, to }));
  }
  return undefined;
}

interface CrashOptions {
  stage: Stage;
  place: Place;
  reader: string;
  authors: Authors;
  replay: Replay;
  from: number;
  to: number;
}

/** Kills the server while edits are under way to it, goes on typing while it is away, and starts it again. */
async function crash({ stage, place, reader, authors, replay, from, to }: CrashOptions): Promise<Crash> {
  const middle = Math.ceil((from + to) / 2);
  // While the server is away nobody can be shown anything.
  await replay.prepare(from, to);
  await replay.type(from, middle);
  // Into the middle of what is under way: the last of these edits were sent a moment ago.
  await stage.perch.kill();
  replay.forgetUnderWay();
  await replay.type(middle, to);
  replay.forgetUnderWay();
  const acknowledged: [number, number] = [authors[0].acknowledged, authors[1].acknowledged];
  const { doc } = await stage.whileDown((db) => readStored(db, place, reader));
  const typed = countersOf(authors);
  const started = performance.now();
  await stage.perch.start();
  await replay.settle();
  return { typed, acknowledged, stored: operationsIn(doc, authors), recoveryMs: performance.now() - started };
}

/** How far the database has written its log, in bytes. */
async function walPosition(db: Database): Promise<number> {
  const [row] = await db.query<{ bytes: number }>(
    "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 as bytes",
  );
  return row?.bytes ?? Number.NaN;
}
