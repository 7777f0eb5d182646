import { isPerchErrorCode, PerchError } from "../../errors.js";
import { isNotLoaded } from "../loro/api.js";
import type { Appendable, Appender, Batch } from "./appender.js";
import type { Budgets } from "./budgets.js";
import { innocentAttempts, isLost } from "./content.js";
import { type Append, type DocumentState, discard, putBack } from "./state.js";
import type { AppendedUpdate, EntryResult } from "./stored.js";
import type { Author } from "./types.js";

/** Of one document, in one transaction. */
const maxBatchUpdates = 500;
const maxBatchBytes = 2 ** 20;

export interface AppendsParts {
  readonly appender: Appender;
  readonly budgets: Budgets;
  /** Whether the copy is older than the database: others appended since, or the table was declared anew. */
  stale(): Promise<boolean>;
  /** Whoever waits for a refresh that has not begun; a completed append is as good as one. */
  takeAsking(): (() => void)[];
  giveAsking(asking: (() => void)[]): void;
}

export interface Appends extends Appendable {
  /**
   * Imports the first append that waits, and what can come along, the document being loaded; they go on from there by themselves.
   * Out: whether it did; not while enough is being imported already.
   */
  startNext(): boolean;
}

/** Calls under way for one document: while the thread works at one, the next is with it already. */
const maxImporting = 4;
/** What goes in one call: keystrokes that came while the thread was busy. Anything larger is a call of its own. */
const maxRunAppends = 128;
const maxRunBytes = 32 * 1024;

/** The way of appends through one document: import, transaction, readers, acknowledgement. */
export function createAppends(state: DocumentState, parts: AppendsParts): Appends {
  const { appender, budgets } = parts;
  /** Being imported, or tried again or refused: that is not decided yet. */
  const undecided = new Set<Append>();
  /** Of these, those before which something was put back meanwhile: what they lack may come with it. */
  const overtaken = new Set<Append>();
  let judging: Promise<unknown> = Promise.resolve();
  /** Authors that the database let write here; see `takeBatch`. */
  const trusted = new Set<string>();

  function startNext(): boolean {
    if (state.importing === 0 && takeTyped()) return true;
    if (state.importing >= maxImporting) return false;
    const run = takeRun();
    const [first] = run;
    if (!first) return false;
    state.importing++;
    if (run.length > 1) void startRun(first, run);
    else void start(first);
    return true;
  }

  /** The first append that waits, when it only goes on with what its writer typed. Out: whether it did. */
  function takeTyped(): boolean {
    const [task] = state.waiting;
    if (task?.kind !== "append" || task.life !== state.life) return false;
    const [update, ...others] = task.updates;
    const ends = update && others.length === 0 ? state.content.takeTyped(update) : undefined;
    if (!ends) return false;
    state.waiting.shift();
    task.known = false;
    task.ends = ends;
    stage(task);
    return true;
  }

  /** The first append that waits, and those behind it that can be imported with it: of one author, so that nobody pays for another. */
  function takeRun(): Append[] {
    const run: Append[] = [];
    let bytes = 0;
    for (const task of state.waiting) {
      const [first] = run;
      if (task.kind !== "append" || run.length === maxRunAppends) break;
      bytes += task.updates.reduce((sum, update) => sum + update.byteLength, 0);
      if (first && (task.alone || task.life !== first.life || bytes > maxRunBytes)) break;
      if (first && authorName(task) !== authorName(first)) break;
      run.push(task);
      if (task.alone) break;
    }
    state.waiting.splice(0, run.length);
    return run;
  }

  /** All of them are imported, or none; then each is tried by itself, and answered for itself. */
  async function startRun(first: Append, run: readonly Append[]): Promise<void> {
    const { generation } = state.content;
    let spentMs = 0;
    const spent = (ms: number) => {
      spentMs = ms;
    };
    const again = () => {
      for (const append of run) append.alone = true;
      tryAgain(run);
    };
    const refuse = () => {
      for (const append of run) append.reject(ended());
    };
    try {
      const updates = run.map((append) => append.updates);
      const { ends, room } = await state.content.call("importRun", [updates], { spent });
      if (first.life !== state.life) refuse();
      else if (generation !== state.content.generation) tryAgain(run);
      else if (!ends) again();
      else {
        budgets.charge(first.author.userId, spentMs / run.length, false);
        state.content.took(updates.flat().at(-1), room);
        for (const [index, append] of run.entries()) {
          append.known = false;
          append.ends = ends[index] ?? null;
          stage(append);
        }
      }
    } catch (error) {
      if (!isLost(error)) budgets.charge(first.author.userId, spentMs + damage(error, state.content.loadMs), true);
      if (generation === state.content.generation) state.content.failed(error);
      if (first.life !== state.life) refuse();
      else again();
    } finally {
      state.importing--;
      state.pump();
    }
  }

  async function start(append: Append): Promise<void> {
    const { generation } = state.content;
    undecided.add(append);
    let spentMs = 0;
    const spent = (ms: number) => {
      spentMs = ms;
    };
    try {
      const { changed, ends, updates, room } = await state.content.call("import", [append.updates], { spent });
      budgets.charge(append.author.userId, spentMs, false);
      append.known = !changed;
      append.ends = ends;
      if (updates) append.updates = updates;
      if (append.life !== state.life) append.reject(ended());
      else if (generation !== state.content.generation) tryAgain([append]);
      else {
        state.content.took(changed && append.updates.length === 1 ? append.updates[0] : undefined, room);
        stage(append);
      }
    } catch (error) {
      if (!isLost(error)) budgets.charge(append.author.userId, spentMs + damage(error, state.content.loadMs), true);
      if (generation === state.content.generation) state.content.failed(error);
      // One after another, in the order of the answers, which is that of the calls: each knows what became of those before.
      judging = judging.then(() => judge(append, error, generation));
      await judging;
    } finally {
      undecided.delete(append);
      overtaken.delete(append);
      state.importing--;
      state.pump();
    }
  }

  /** They go back to their place, and what is behind it and under way may turn out to have needed them. */
  function tryAgain(appends: readonly Append[]): void {
    const [first] = appends;
    for (const other of undecided) if (first && other.order > first.order) overtaken.add(other);
    putBack(state.waiting, appends);
  }

  async function judge(append: Append, error: unknown, generation: number): Promise<void> {
    const again = append.life === state.life && (await isWorthAnother(append, error, generation));
    if (append.life !== state.life) append.reject(ended());
    else if (again) tryAgain([append]);
    else append.reject(error);
  }

  /**
   * The calls of one document are answered in order, and a copy is loaded only when none is under way: no answer comes late. An append is
   * tried again for another's sake only when that one came before it, and so on to the first, which is not; so all of it comes to an end.
   */
  async function isWorthAnother(append: Append, error: unknown, generation: number): Promise<boolean> {
    if (generation !== state.content.generation || overtaken.has(append)) return true;
    // Whoever arrived earlier and made the thread let go of the copy is answered for good, so this comes to an end.
    if (isLost(error)) return isNotLoaded(error) || ++append.losses < innocentAttempts;
    // It may build on what its author was told by another node, or be written for fields that were declared since.
    if (!mayFitLater(error) || append.rechecked || !(await parts.stale())) return false;
    state.content.unload();
    append.rechecked = true;
    return true;
  }

  function stage(append: Append): void {
    if (append.known && state.ready.length === 0 && !state.storing) {
      append.resolve({ seq: state.position });
      return;
    }
    state.ready.push(append);
    if (!state.storing) appender.wake(appends);
  }

  /**
   * Two authors share a transaction only when both were let in before. Otherwise one could be refused and the other, whose update may
   * stand on the refused one, be stored without what it depends on. Of one author all are let in, or none.
   */
  function takeBatch(): Batch | undefined {
    if (state.storing || state.busy || state.locked) return undefined;
    const appends: Append[] = [];
    const updates: AppendedUpdate[] = [];
    let bytes = 0;
    let author: string | undefined;
    for (const append of state.ready) {
      const writable = writableFor(append.author, state.key.spaceId);
      if (!append.known) {
        const name = authorName(append, writable);
        if (updates.length > 0 && (updates.length >= maxBatchUpdates || bytes >= maxBatchBytes)) break;
        author ??= name;
        if (name !== author && !(trusted.has(name) && trusted.has(author))) break;
        const { userId, clientId = null } = append.author;
        const last = append.updates.length - 1;
        for (const [index, payload] of append.updates.entries()) {
          bytes += payload.byteLength;
          // The engine took them as one, so its answer counts from the last on.
          updates.push({ payload, writable, userId, clientId, ends: index === last ? append.ends : null });
        }
      }
      appends.push(append);
    }
    state.ready = state.ready.slice(appends.length);
    if (updates.length === 0) {
      // All of them were known, and what they may stand on has been committed. What waited for them to be gone can begin.
      for (const append of appends) append.resolve({ seq: state.position });
      state.pump();
      return undefined;
    }
    state.storing = true;
    const entry = { key: state.key, afterSeq: state.position, updates };
    return { entry, appends, bytes, rings: state.rings.begin(), asking: parts.takeAsking() };
  }

  function giveBack(batch: Batch): void {
    state.ready = [...batch.appends, ...state.ready];
    state.rings.failed(batch.rings);
    parts.giveAsking(batch.asking);
    state.storing = false;
    state.pump();
  }

  function failed(batch: Batch, error: unknown): void {
    for (const append of batch.appends) {
      if (append.known) putBack(state.waiting, [append]);
      else append.reject(error);
    }
    discard(state);
    state.rings.failed(batch.rings);
    parts.giveAsking(batch.asking);
    state.storing = false;
    state.pump();
  }

  async function stored(batch: Batch, result: EntryResult): Promise<void> {
    const { accepted, refused, again, over, partly } = sorted(batch, result);
    if (over) return end(batch);
    for (const { append, code } of refused) {
      trusted.delete(authorName(append));
      append.reject(refusal(code));
    }
    // What is tried again must not be found in the copy: it would be taken for known, and acknowledged.
    if (refused.length > 0 || again.length > 0) discard(state);
    const last = accepted.at(-1);
    const complete = last !== undefined && !result.anew && !partly;
    for (const { append } of accepted) trusted.add(authorName(append));
    if (complete) {
      await deliver(result, accepted);
      state.position = last.seq;
      state.rings.committed(last.seq);
    } else if (last) {
      state.content.unload();
      state.behind = true;
    }
    state.storing = false;
    for (const { append, seq } of accepted) append.resolve({ seq });
    putBack(state.waiting, again);
    for (const append of batch.appends) {
      if (!append.known) continue;
      if (refused.length > 0) putBack(state.waiting, [append]);
      else append.resolve({ seq: state.position });
    }
    if (complete) {
      state.rings.end(batch.rings, state.position);
      for (const asked of batch.asking) asked();
      state.moved(true);
    } else {
      state.rings.failed(batch.rings);
      parts.giveAsking(batch.asking);
    }
    state.pump();
  }

  /** Readers get what others appended first, since it is before ours; the copy has ours already. */
  async function deliver(result: EntryResult, accepted: readonly Accepted[]): Promise<void> {
    const { missed } = result;
    const lastMissed = missed.at(-1);
    if (lastMissed) {
      const updates = missed.map((update) => update.payload);
      await state.content.follow(updates);
      for (const { seq } of missed) state.rings.saw(seq);
      state.subscribers.deliver({ updates, seq: lastMissed.seq, origin: undefined });
    }
    for (const { append, seqs, seq } of accepted) {
      for (const own of seqs) state.rings.saw(own);
      state.subscribers.deliver({ updates: append.updates, seq, origin: append.origin });
    }
  }

  /** The document was deleted under the hands of its writers. */
  function end(batch: Batch): void {
    for (const append of batch.appends) append.reject(ended());
    state.rings.failed(batch.rings);
    parts.giveAsking(batch.asking);
    state.storing = false;
    state.endLife();
    state.pump();
  }

  function sorted(batch: Batch, { results }: EntryResult) {
    const accepted: Accepted[] = [];
    const refused: Refused[] = [];
    const again: Append[] = [];
    let over = false;
    let partly = false;
    let at = 0;
    for (const append of batch.appends) {
      if (append.known) continue;
      const own = results.slice(at, at + append.updates.length);
      at += append.updates.length;
      const seqs = own.flatMap((result) => ("seq" in result ? [result.seq] : []));
      const code = own.flatMap((result) => ("refused" in result ? [result.refused] : []))[0];
      const seq = seqs.at(-1);
      // A position that is not beyond ours was given out by a database that has gone back to an earlier state.
      if (code === "PE410" || (seq !== undefined && seq <= batch.entry.afterSeq)) over = true;
      if (code === undefined && seq !== undefined) accepted.push({ append, seqs, seq });
      else if (code === undefined && own.some((result) => "again" in result)) again.push(append);
      else {
        refused.push({ append, code: code ?? "PE422" });
        if (seq !== undefined) partly = true;
      }
    }
    return { accepted, refused, again, over, partly };
  }

  function authorName({ author }: Append, writable = writableFor(author, state.key.spaceId)): string {
    return `${writable} ${author.userId}`;
  }

  const appends: Appends = { startNext, takeBatch, giveBack, failed, stored };
  return appends;
}

/** A thread is started, and its documents are loaded again, in about this time. */
const threadMs = 300;

/** What a refused import breaks, in the time it takes to mend. */
export function damage(error: unknown, loadMs: number): number {
  const { dropped, reason } = (error as { detail?: { dropped?: unknown; reason?: unknown } | null }).detail ?? {};
  if (reason === "trapped" || reason === "timed out") return threadMs + loadMs;
  return dropped === true ? loadMs : 0;
}

interface Accepted {
  readonly append: Append;
  readonly seqs: readonly number[];
  readonly seq: number;
}

interface Refused {
  readonly append: Append;
  readonly code: string;
}

/** What a token says of the author's right to write; null when memberships are read in the append itself. */
function writableFor(author: Author, spaceId: string): boolean | null {
  if (author.spaceIds === undefined && author.writableSpaceIds === undefined) return null;
  return author.writableSpaceIds?.includes(spaceId) ?? false;
}

/** A refusal for what the copy lacks: an operation to build on, or a declared field. */
function mayFitLater(error: unknown): boolean {
  const { code, detail } = (error ?? {}) as { code?: unknown; detail?: { missing?: unknown; field?: unknown } | null };
  return code === "PE422" && (detail?.missing !== undefined || detail?.field !== undefined);
}

/** What a writer is told whose document is gone. */
export function ended(): PerchError {
  return new PerchError("PE410", "the document was deleted meanwhile; join it again", { reason: "deleted" });
}

const reasons: Record<string, string> = {
  PE401: "the update has no author",
  PE403: "this user may not write this space",
  PE413: "the update is over the limit of the database (perch.max_update_bytes)",
};

function refusal(code: string): PerchError {
  const known = isPerchErrorCode(code) ? code : "PE422";
  const detail = code === "PE413" ? { limit: "max_update_bytes" } : null;
  return new PerchError(known, reasons[code] ?? "the database refused the update", detail);
}
