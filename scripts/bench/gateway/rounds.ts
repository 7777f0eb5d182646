import { median } from "../../support/figures.js";

/**
 * Measures contenders one after the other, so many rounds, each in another order; the first of the rounds given to `measure`, 0, is
 * for warming up and does not count.
 */
export async function inRounds<Name extends string, Run>(
  rounds: number,
  contenders: readonly Name[],
  measure: (name: Name, round: number) => Promise<Run>,
): Promise<Record<Name, Run[]>> {
  const runs = Object.fromEntries(contenders.map((name) => [name, [] as Run[]])) as Record<Name, Run[]>;
  for (let round = 0; round <= rounds; round++) {
    const turn = round % contenders.length;
    for (const name of [...contenders.slice(turn), ...contenders.slice(0, turn)]) {
      const run = await measure(name, round);
      if (round > 0) runs[name].push(run);
    }
  }
  return runs;
}

/** The median, over the rounds, of what the one is to the other in each. */
export function pairedRatio(numerators: readonly number[], denominators: readonly number[]): number {
  return median(numerators.map((value, round) => value / (denominators[round] ?? Number.NaN)));
}

/** A line that says whether a target is met. */
export function verdict(what: string, ratio: number, target: number): string {
  return `${ratio >= target ? "  holds" : " MISSED"}  ${what}: ${ratio.toFixed(2)}, at least ${target} wanted`;
}
