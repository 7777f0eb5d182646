import { readdirSync, readFileSync } from "node:fs";

/** Of Linux' clock, a second. */
const ticks = 100;

/** Processor time in seconds that a process and its children have taken so far, those that ended included; NaN where /proc does not tell. */
export function processorSeconds(pid: number | undefined): number {
  const own = statOf(String(pid));
  if (own === undefined) return Number.NaN;
  const children = readdirSync("/proc").flatMap((name) => statOf(name) ?? []);
  const alive = children.filter(({ parent }) => parent === pid);
  return [...alive, own].reduce((sum, { ticks: taken }) => sum + taken, own.ended) / ticks;
}

function statOf(pid: string): { parent: number; ticks: number; ended: number } | undefined {
  if (!/^\d+$/.test(pid)) return undefined;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // Behind the name, which may hold anything: state, parent; then, tenth from there, time of its own and of children that ended.
    const fields = stat
      .slice(stat.lastIndexOf(")") + 2)
      .split(" ")
      .map(Number);
    const [user = 0, system = 0, endedUser = 0, endedSystem = 0] = fields.slice(11, 15);
    return { parent: fields[1] ?? 0, ticks: user + system, ended: endedUser + endedSystem };
  } catch {
    return undefined;
  }
}
