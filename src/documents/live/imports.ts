import { isNotLoaded } from "../loro/api.js";
import { innocentAttempts, isLost } from "../loro/lost.js";
import type { AuthorLimits } from "./author-limits.js";
import { type Append, authorName, ended, type OpenDocument, putBack } from "./open-document.js";
import { type Event, isImporting } from "./states.js";

export interface ImportsParts {
  readonly authorLimits: AuthorLimits;
  /** Whether the replica is older than the database: others appended since, or the table was declared anew. */
  stale(): Promise<boolean>;
  /** It is in the replica, and goes on from there. */
  stage(append: Append): void;
}

export interface Imports {
  /** Begins to import the first append in line, and what can come along; they go on from there by themselves. Out: what to tell of it. */
  begin(next: Append): Event;
}

/** What goes in one call: keystrokes that came while the thread was busy. Anything larger is a call of its own. */
const maxRunAppends = 128;
const maxRunBytes = 32 * 1024;

/** The first part of the way of appends: from where they wait into the replica, or back to wait once more, or to a refusal. */
export function createImports(open: OpenDocument, { authorLimits, stale, stage }: ImportsParts): Imports {
  const { spaceId } = open.key;
  /** Being imported, or tried again or refused: that is not decided yet. */
  const undecided = new Set<Append>();
  /** Of these, those before which something was put back meanwhile: what they lack may come with it. */
  const overtaken = new Set<Append>();
  let judging: Promise<unknown> = Promise.resolve();

  function begin(next: Append): Event {
    if (!isImporting(open.state) && takeTyped(next)) return { is: "waits" };
    const run = takeRun(next);
    void (run.length > 1 ? startRun(next, run) : start(next));
    return { is: "import begun" };
  }

  /** An append that only goes on with what its writer typed, while nothing before it is being imported. Out: whether it does. */
  function takeTyped(append: Append): boolean {
    if (append.alone || append.incarnation !== open.state.incarnation) return false;
    const [update, ...others] = append.updates;
    const ends = update && others.length === 0 ? open.replica.takeTyped(update) : undefined;
    if (!ends) return false;
    open.line.shift();
    append.known = false;
    append.ends = ends;
    stage(append);
    return true;
  }

  /** Takes the first append, and those behind it that can be imported with it: of one author, so that nobody pays for another. */
  function takeRun(first: Append): Append[] {
    const run: Append[] = [];
    const author = authorName(first.author, spaceId);
    let bytes = 0;
    for (const task of open.line) {
      if (task.kind !== "append" || run.length === maxRunAppends) break;
      bytes += task.updates.reduce((sum, update) => sum + update.byteLength, 0);
      if (task !== first) {
        if (task.alone || task.incarnation !== first.incarnation || bytes > maxRunBytes) break;
        if (authorName(task.author, spaceId) !== author) break;
      }
      run.push(task);
      if (task.alone) break;
    }
    open.line.take(run.length);
    return run;
  }

  /** All of them are imported, or none; then each is tried by itself, and answered for itself. */
  async function startRun(first: Append, run: readonly Append[]): Promise<void> {
    const { generation } = open.state;
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
      const { ends, updates: made, room } = await open.replica.call("importRun", [updates], { spent });
      if (first.incarnation !== open.state.incarnation) refuse();
      else if (generation !== open.state.generation) tryAgain(run);
      else if (!ends) again();
      else {
        authorLimits.charge(first.author.userId, spentMs / run.length, false);
        for (const [index, append] of run.entries()) {
          append.updates = made[index] ?? append.updates;
          append.known = false;
          append.ends = ends[index] ?? null;
        }
        open.replica.took(run.at(-1)?.updates.at(-1), room);
        for (const append of run) stage(append);
      }
    } catch (error) {
      if (!isLost(error)) authorLimits.charge(first.author.userId, spentMs + damage(error, open.replica.loadMs), true);
      if (generation === open.state.generation) open.replica.failed(error);
      if (first.incarnation !== open.state.incarnation) refuse();
      else again();
    } finally {
      open.tell({ is: "import ended" });
    }
  }

  async function start(append: Append): Promise<void> {
    const { generation } = open.state;
    undecided.add(append);
    let spentMs = 0;
    const spent = (ms: number) => {
      spentMs = ms;
    };
    try {
      const { changed, ends, updates, room, forked } = await open.replica.call(
        "import",
        [append.updates, append.owned],
        {
          spent,
        },
      );
      authorLimits.charge(append.author.userId, spentMs, false);
      append.known = !changed;
      append.forked = forked;
      append.ends = ends;
      if (updates) append.updates = updates;
      if (append.incarnation !== open.state.incarnation) append.reject(ended());
      else if (generation !== open.state.generation) tryAgain([append]);
      else {
        open.replica.took(changed && append.updates.length === 1 ? append.updates[0] : undefined, room);
        stage(append);
      }
    } catch (error) {
      if (!isLost(error)) authorLimits.charge(append.author.userId, spentMs + damage(error, open.replica.loadMs), true);
      if (generation === open.state.generation) open.replica.failed(error);
      // One after another, in the order of the answers, which is that of the calls: each knows what became of those before.
      judging = judging.then(() => judge(append, error, generation));
      await judging;
    } finally {
      undecided.delete(append);
      overtaken.delete(append);
      open.tell({ is: "import ended" });
    }
  }

  /** They go back to their place, and what is behind it and under way may turn out to have needed them. */
  function tryAgain(appends: readonly Append[]): void {
    const [first] = appends;
    for (const other of undecided) if (first && other.order > first.order) overtaken.add(other);
    putBack(open, appends);
  }

  async function judge(append: Append, error: unknown, generation: number): Promise<void> {
    const again = append.incarnation === open.state.incarnation && (await isWorthAnother(append, error, generation));
    if (append.incarnation !== open.state.incarnation) append.reject(ended());
    else if (again) tryAgain([append]);
    else append.reject(error);
  }

  /**
   * The calls of one document are answered in order, and a replica is loaded only when none is under way: no answer comes late. An append is
   * tried again for another's sake only when that one came before it, and so on to the first, which is not; so all of it comes to an end.
   */
  async function isWorthAnother(append: Append, error: unknown, generation: number): Promise<boolean> {
    if (generation !== open.state.generation || overtaken.has(append)) return true;
    // Whoever arrived earlier and made the thread let go of the replica is answered for good, so this comes to an end.
    if (isLost(error)) return isNotLoaded(error) || ++append.losses < innocentAttempts;
    // It may build on what its author was told by another node, or be written for fields that were declared since.
    if (!mayFitLater(error) || append.rechecked || !(await stale())) return false;
    open.replica.unload();
    append.rechecked = true;
    return true;
  }

  return { begin };
}

/** A thread is started, and its documents are loaded again, in about this time. */
const threadMs = 300;

/** What a refused import breaks, in the time it takes to mend. */
export function damage(error: unknown, loadMs: number): number {
  const { dropped, reason } = (error as { detail?: { dropped?: unknown; reason?: unknown } | null }).detail ?? {};
  if (reason === "trapped" || reason === "timed out") return threadMs + loadMs;
  return dropped === true ? loadMs : 0;
}

/** A refusal for what the replica lacks: an operation to build on, or a declared field. */
function mayFitLater(error: unknown): boolean {
  const { code, detail } = (error ?? {}) as { code?: unknown; detail?: { missing?: unknown; field?: unknown } | null };
  return code === "PE422" && (detail?.missing !== undefined || detail?.field !== undefined);
}
