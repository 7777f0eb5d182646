import { LoroDoc } from "loro-crdt";
import { type Author, applyPatch, counterOf, endOf } from "./author.js";
import { other, type Schedule } from "./schedule.js";

const patienceMs = 60_000;

export interface Replay {
  /**
   * Types the steps [from, to) as their authors, both at once, each on a document that holds exactly what it held in the
   * recording. An author is never more than `ahead` edits ahead of the other's screen, or not held up when that is omitted.
   * Rejects when a document shows something the recording had not, or when nothing moves for a minute.
   */
  type(from: number, to: number, ahead?: number): Promise<void>;
  /** Shows each author what the first of their steps in [from, to) was typed upon. */
  prepare(from: number, to: number): Promise<void>;
  /**
   * Shows both authors everything, and waits until both have all that was typed, and the server has confirmed it. Only where the
   * recording lets both know everything: at an interruption, or at the end.
   */
  settle(): Promise<void>;
  /** Milliseconds from a keystroke to its arrival at the other client; edits that met a restart are not among them. */
  readonly latencies: number[];
  /** Forget the edits under way: the time they take says something about a restart and nothing about typing. */
  forgetUnderWay(): void;
  readonly typed: number;
}

/** Lets two authors replay a recorded session through their clients. */
export function createReplay(schedule: Schedule, authors: readonly [Author, Author]): Replay {
  const latencies: number[] = [];
  const underWay: [Flight[], Flight[]] = [[], []];
  const allowed: [number, number] = [0, 0];
  const progress = createProgress();
  let typed = 0;

  for (const index of [0, 1] as const) {
    const { line } = authors[index];
    const writer = authors[other(index)];
    const flights = underWay[other(index)];
    line.onArrived = (updates) => {
      const end = endOf(updates, writer.peer);
      const now = performance.now();
      for (let first = flights[0]; first !== undefined && first.counter <= end; first = flights[0]) {
        latencies.push(now - first.typedAt);
        flights.shift();
      }
      progress.moved();
    };
    line.onDelivered = progress.moved;
    line.mayPass = (updates) => endOf(updates, writer.peer) <= allowed[index];
  }

  /** Lets through what the other had typed when this step was typed, and no more. */
  async function show(index: 0 | 1, others: number): Promise<void> {
    const author = authors[index];
    const writer = authors[other(index)];
    await progress.until(() => writer.counters.length >= others, `edit ${others} of the other author`);
    const counter = others === 0 ? 0 : (writer.counters[others - 1] ?? 0);
    allowed[index] = Math.max(allowed[index], counter);
    author.line.release();
    await progress.until(() => {
      author.line.release();
      return counterOf(author.doc, writer.peer) >= counter;
    }, `operation ${counter} of ${writer.peer} at the other client`);
    const seen = counterOf(author.doc, writer.peer);
    if (seen !== counter) throw new Error(`the document shows ${seen} operations where the recording had ${counter}`);
  }

  async function typeAs(index: 0 | 1, from: number, to: number, ahead: number): Promise<void> {
    const author = authors[index];
    const flights = underWay[index];
    for (let at = from; at < to; at++) {
      const step = schedule.steps[at];
      if (step === undefined || step.author !== index) continue;
      await show(index, step.others);
      if (flights.length >= ahead) await progress.until(() => flights.length < ahead, "the other client to keep up");
      author.type(step.patches);
      flights.push({ counter: author.counters.at(-1) ?? 0, typedAt: performance.now() });
      typed += 1;
      progress.moved();
    }
  }

  return {
    latencies,
    get typed() {
      return typed;
    },
    async type(from, to, ahead = Number.POSITIVE_INFINITY) {
      await Promise.all([typeAs(0, from, to, ahead), typeAs(1, from, to, ahead)]);
    },
    async prepare(from, to) {
      const first = ([0, 1] as const).map((index) =>
        schedule.steps.slice(from, to).find(({ author }) => author === index),
      );
      await Promise.all(first.map((step) => step && show(step.author, step.others)));
    },
    async settle() {
      await Promise.all(([0, 1] as const).map((index) => show(index, authors[other(index)].counters.length)));
      await progress.until(
        () => authors.every((author) => author.acknowledged === (author.counters.at(-1) ?? 0)),
        "the server to confirm everything",
      );
    },
    forgetUnderWay() {
      underWay[0].length = 0;
      underWay[1].length = 0;
    },
  };
}

interface Flight {
  counter: number;
  typedAt: number;
}

/**
 * The text after the first `count` steps, by documents that meet in memory and need no server.
 */
export function replayInMemory({ steps }: Schedule, count: number, field: string): string {
  const docs = [new LoroDoc(), new LoroDoc()] as const;
  const updates: [Uint8Array[], Uint8Array[]] = [[], []];
  const seen: [number, number] = [0, 0];
  const show = (index: 0 | 1, others: number) => {
    const news = updates[other(index)].slice(seen[index], others);
    if (news.length > 0) docs[index].importBatch(news);
    seen[index] = others;
  };
  for (const index of [0, 1] as const) docs[index].subscribeLocalUpdates((update) => updates[index].push(update));
  for (const { author, patches, others } of steps.slice(0, count)) {
    show(author, others);
    for (const patch of patches) applyPatch(docs[author].getText(field), patch);
    docs[author].commit();
  }
  show(0, updates[1].length);
  return docs[0].getText(field).toString();
}

interface Progress {
  moved(): void;
  /** Resolves once the condition holds; looked at whenever something moved, and now and then. */
  until(holds: () => boolean, what: string): Promise<void>;
}

export function createProgress(): Progress {
  const waiting = new Set<() => void>();
  return {
    moved() {
      for (const look of [...waiting]) look();
    },
    async until(holds, what) {
      if (holds()) return;
      await new Promise<void>((resolve, reject) => {
        const started = Date.now();
        const done = (finish: () => void) => {
          clearInterval(timer);
          waiting.delete(look);
          finish();
        };
        const look = () => {
          if (holds()) done(resolve);
        };
        const timer = setInterval(() => {
          if (Date.now() - started > patienceMs) done(() => reject(new Error(`waited a minute for ${what}`)));
          else look();
        }, 50);
        waiting.add(look);
      });
    },
  };
}
