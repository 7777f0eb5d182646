/** A position in unicode code points, how many code points go, what comes in their place. */
export type Patch = readonly [position: number, deleted: number, inserted: string];

/** A recorded session of several people; a transaction applies to the merge of its parents. */
export interface ConcurrentTrace {
  endContent: string;
  numAgents: number;
  txns: readonly { parents: readonly number[]; agent: number; patches: readonly Patch[] }[];
}

/** One edit of one author, and how much of the other author's work was on the screen when it was typed. */
export interface Step {
  author: 0 | 1;
  patches: readonly Patch[];
  /** How many steps the author had typed before. */
  own: number;
  /** How many steps of the other author the document holds. */
  others: number;
}

export interface Schedule {
  steps: readonly Step[];
  endContent: string;
}

export const other = (author: 0 | 1): 0 | 1 => (author === 0 ? 1 : 0);

/**
 * Turns the parents of each transaction into counts: a version of a two-person session is how many steps of each it holds.
 * Throws when the trace has other than two authors, or an author who forgets (a parent without the author's own last step).
 */
export function scheduleOf(trace: ConcurrentTrace): Schedule {
  if (trace.numAgents !== 2) throw new Error(`a session of two authors is needed, this one has ${trace.numAgents}`);
  const typed: [number, number] = [0, 0];
  const versions: [number, number][] = [];
  const steps: Step[] = [];
  for (const [index, { parents, agent, patches }] of trace.txns.entries()) {
    const author = agent === 0 ? 0 : 1;
    const version: [number, number] = [0, 0];
    for (const parent of parents) {
      const known = versions[parent];
      if (known === undefined) throw new Error(`transaction ${index} comes before its parent ${parent}`);
      version[0] = Math.max(version[0], known[0]);
      version[1] = Math.max(version[1], known[1]);
    }
    if (version[author] !== typed[author]) throw new Error(`transaction ${index} lacks its author's own past`);
    steps.push({ author, patches, own: version[author], others: version[other(author)] });
    version[author] += 1;
    typed[author] += 1;
    versions.push(version);
  }
  return { steps, endContent: trace.endContent };
}

/**
 * Where the session may be interrupted: indexes k such that after step k-1 each author next types with all that the other had
 * typed before k on the screen, and each types the `quiet` steps before k seeing one and the same of the other, all of it typed
 * before. A server may die within these steps and catch everybody up afterwards, without an author having to hear of anything
 * meanwhile, or being shown what the recording has not shown.
 */
export function interruptions({ steps }: Schedule, quiet: number): number[] {
  const typed: [number, number][] = [[0, 0]];
  for (const step of steps) {
    const last = typed.at(-1) ?? [0, 0];
    typed.push(step.author === 0 ? [last[0] + 1, last[1]] : [last[0], last[1] + 1]);
  }
  const found: number[] = [];
  // What each author's next step at or after k knows of the other; nothing more to type: no demand.
  const next: [number, number] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let k = steps.length - 1; k >= quiet; k--) {
    const step = steps[k];
    const upToHere = typed[k];
    const before = typed[k - quiet];
    if (step === undefined || upToHere === undefined || before === undefined) continue;
    next[step.author] = step.others;
    if (next[0] < upToHere[1] || next[1] < upToHere[0]) continue;
    if (isQuiet(steps.slice(k - quiet, k), before)) found.push(k);
  }
  return found.reverse();
}

/** Whether neither author sees anything new within these steps. */
function isQuiet(steps: readonly Step[], typedBefore: readonly [number, number]): boolean {
  const seen: [number | undefined, number | undefined] = [undefined, undefined];
  return steps.every(({ author, others }) => {
    seen[author] ??= others;
    return others === seen[author] && others <= typedBefore[other(author)];
  });
}
