import { once, setMaxListeners } from "node:events";
import { seeded } from "../faults/random.js";
import { attacksNamed } from "./attacks.js";
import { type Tally, targetOf } from "./target.js";

/** What the process of the attackers is told, as its one argument. */
export interface Orders {
  readonly httpUrl: string;
  readonly wsUrl: string;
  readonly databaseUrls: { readonly app: string; readonly nobody: string };
  readonly seed: number;
  /** One for each attack. */
  readonly users: readonly string[];
  /** Only attacks whose name it matches. */
  readonly only?: string | undefined;
}

export interface AttackersReport extends Tally {
  /** How often each attack was run. */
  readonly times: Readonly<Record<string, number>>;
  /** Attacks that could not be carried out: an attack that throws tests nothing. */
  readonly failures: readonly string[];
}

/** All attacks at once, each by a user of its own, until the process is told to stop; then it reports. */
async function main(orders: Orders): Promise<void> {
  const stop = new AbortController();
  process.on("message", () => stop.abort());
  process.on("disconnect", () => process.exit(1));
  const tally: Tally = { sentBytes: 0, leaks: [] };
  const times: Record<string, number> = {};
  const failures: string[] = [];
  const random = seeded(orders.seed);
  const { signal } = stop;
  const stopped = once(signal, "abort");
  await Promise.all(
    attacksNamed(orders.only).map(async (attack, nth) => {
      const user = orders.users[nth] ?? "mallory";
      const own = random.fork();
      while (!signal.aborted) {
        // What one time has opened does not outlive a few more of it: attackers have their own limits.
        const round = new AbortController();
        const ended = AbortSignal.any([signal, round.signal]);
        // Every socket and request of a round listens to it.
        setMaxListeners(0, ended);
        const target = targetOf({ ...orders, tally, user, random: own, signal: ended });
        setTimeout(() => round.abort(), 10 * attack.everyMs + 5_000).unref();
        try {
          await attack.run(target);
        } catch (error) {
          failures.push(`${attack.name}: ${error instanceof Error ? error.stack : String(error)}`);
        }
        times[attack.name] = (times[attack.name] ?? 0) + 1;
        await target.pause(attack.everyMs * own.between(0.7, 1.3));
      }
    }),
  );
  await stopped;
  const report: AttackersReport = { ...tally, leaks: [...new Set(tally.leaks)], times, failures };
  process.send?.(report, () => process.exit(0));
}

await main(JSON.parse(process.argv[2] ?? "{}") as Orders);
