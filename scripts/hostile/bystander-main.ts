import { monitorEventLoopDelay } from "node:perf_hooks";
import { startBystander } from "./bystander.js";

/** What the process of the bystander is told, as its one argument. */
export interface BystanderOrders {
  readonly httpUrl: string;
  readonly wsUrl: string;
  /** So many others who do the same, beside whoever else is there; none: the bystander who is measured. */
  readonly others?: number;
}

/** What it is asked, each to be answered once. */
export type Question = "lap" | "stop";

export interface Lap {
  /** p99 in milliseconds of each kind of work since the last lap. */
  readonly p99: Readonly<Record<string, number>>;
  /** How late this process itself was since then, at p99: what it says of the node is no better than that. */
  readonly ownDelay: number;
}

/**
 * The bystander is a process of its own: its clock is to tell how long the node takes, and not what other clients of the same process are
 * about at that moment.
 */
async function main({ httpUrl, wsUrl, others }: BystanderOrders): Promise<void> {
  process.on("disconnect", () => process.exit(1));
  if (others !== undefined) {
    await Promise.all(Array.from({ length: others }, (_, n) => startBystander(httpUrl, wsUrl, `honest${n}`)));
    return;
  }
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const bystander = await startBystander(httpUrl, wsUrl);
  process.on("message", (question: Question) => {
    if (question === "stop") {
      void bystander.stop().then((wrong) => process.send?.(wrong, () => process.exit(0)));
      return;
    }
    const lap: Lap = { p99: bystander.lap(), ownDelay: delay.percentile(99) / 1e6 };
    delay.reset();
    process.send?.(lap);
  });
  process.send?.("ready");
}

await main(JSON.parse(process.argv[2] ?? "{}") as BystanderOrders);
