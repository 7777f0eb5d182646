import { useEffect, useState } from "preact/hooks";
import { view } from "./api.js";
import { parseFigures, type Sample } from "./figures.js";

/** The figures of the last minutes, of the process that answered last: behind a balancer each has its own. */
export interface Samples {
  readonly list: readonly Sample[];
  readonly node: string;
  readonly error: unknown;
}

const everyMs = 2_000;
const kept = 150;

const byNode = new Map<string, Sample[]>();
let state: Samples = { list: [], node: "", error: undefined };
const listeners = new Set<() => void>();
let running = false;

async function look(): Promise<void> {
  try {
    const { node, at, text } = await view<{ node: string; at: number; text: string }>("figures");
    const list = [...(byNode.get(node) ?? []), { at, figures: parseFigures(text) }].slice(-kept);
    byNode.set(node, list);
    state = { list, node, error: undefined };
  } catch (error) {
    state = { ...state, error };
  }
  for (const listener of listeners) listener();
}

function run(): void {
  if (listeners.size === 0) {
    running = false;
    return;
  }
  setTimeout(run, everyMs);
  if (!document.hidden) void look();
}

/** Watches them for as long as the console is open, whichever view is shown: a chart that begins anew tells nothing. */
export function useSamples(): Samples {
  const [, turn] = useState(0);
  useEffect(() => {
    const listener = () => turn((before) => before + 1);
    listeners.add(listener);
    if (!running) {
      running = true;
      run();
    }
    return () => listeners.delete(listener) as unknown as undefined;
  }, []);
  return state;
}
