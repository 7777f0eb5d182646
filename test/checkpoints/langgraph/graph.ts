/** Graphs of the kinds that lean on a saver, and what of their history can be compared between savers. */
import { Annotation, Command, DeltaChannel, END, interrupt, Send, START, StateGraph } from "@langchain/langgraph";
import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";

export const list = () => Annotation<string[]>({ reducer: (old, added) => [...old, ...added], default: () => [] });

/** Plans, gathers from several sources at once, asks for approval, then writes or drops. */
export function agent(checkpointer: BaseCheckpointSaver) {
  const State = Annotation.Root({
    log: list(),
    found: list(),
    topic: Annotation<string>,
    draft: Annotation<string | null>,
  });
  return new StateGraph(State)
    .addNode("plan", () => ({ log: ["plan"], draft: null }))
    .addNode("look", ({ source }: { source: string }) => ({ found: [`${source}: ${"x".repeat(1000)}`] }))
    .addNode(
      "ask",
      ({ topic }: typeof State.State) => {
        const answer = interrupt<string, string>(`May I write about ${topic}?`);
        return new Command({ update: { log: [`ask:${answer}`] }, goto: answer === "yes" ? "write" : "drop" });
      },
      { ends: ["write", "drop"] },
    )
    .addNode("write", ({ topic }) => ({ log: ["write"], draft: `${topic}: ${"y".repeat(20_000)}` }))
    .addNode("drop", () => ({ log: ["drop"] }))
    .addEdge(START, "plan")
    .addConditionalEdges("plan", () => ["a", "b", "c"].map((source) => new Send("look", { source })))
    .addEdge("look", "ask")
    .addEdge("write", END)
    .addEdge("drop", END)
    .compile({ checkpointer });
}

/** A graph with a subgraph that asks, and one that remembers between calls. */
export function nested(checkpointer: BaseCheckpointSaver) {
  const State = Annotation.Root({ log: list() });
  const asking = new StateGraph(State)
    .addNode("first", () => ({ log: ["inner first"] }))
    .addNode("second", () => ({ log: [`inner ${interrupt<string, string>("inner?")}`] }))
    .addEdge(START, "first")
    .addEdge("first", "second")
    .addEdge("second", END)
    .compile();
  const Memory = Annotation.Root({
    log: list(),
    calls: Annotation<number>({ reducer: (a, b) => a + b, default: () => 0 }),
  });
  const remembering = new StateGraph(Memory)
    .addNode("count", ({ calls }) => ({ calls: 1, log: [`call ${calls + 1}`] }))
    .addEdge(START, "count")
    .addEdge("count", END)
    .compile({ checkpointer: true });
  return new StateGraph(State)
    .addNode("before", () => ({ log: ["before"] }))
    .addNode("asking", asking)
    .addNode("remembering", async () => ({ log: [`remembered ${(await remembering.invoke({ log: [] })).calls}`] }))
    .addEdge(START, "before")
    .addEdge("before", "asking")
    .addEdge("asking", "remembering")
    .addEdge("remembering", END)
    .compile({ checkpointer });
}

/** A channel that is stored as its changes, with a whole value now and then. */
export function incremental(checkpointer: BaseCheckpointSaver, snapshotFrequency: number) {
  const State = Annotation.Root({
    said: () =>
      new DeltaChannel<string[], string[]>((state, writes) => [...state, ...writes.flat()], {
        snapshotFrequency,
        initialValueFactory: () => [],
      }),
    turns: Annotation<number>,
  });
  return new StateGraph(State)
    .addNode("speak", ({ said, turns }) => ({ said: [`turn ${turns} after ${said.length}`], turns: turns - 1 }))
    .addEdge(START, "speak")
    .addConditionalEdges("speak", ({ turns }) => (turns > 0 ? "speak" : END))
    .compile({ checkpointer });
}

interface Snapshot {
  values: unknown;
  next: readonly string[];
  config: { configurable?: Record<string, unknown> };
  parentConfig?: { configurable?: Record<string, unknown> } | undefined;
  metadata?: { source?: unknown; step?: unknown } | undefined;
  tasks: readonly { name: string; interrupts: readonly { value?: unknown }[] }[];
}

/** A history without what differs from run to run: ids are replaced by their place in it. */
export async function comparable(history: AsyncIterable<unknown>): Promise<unknown[]> {
  const snapshots: Snapshot[] = [];
  for await (const snapshot of history) snapshots.push(snapshot as Snapshot);
  const place = (config: Snapshot["config"] | undefined) =>
    config === undefined
      ? "none"
      : snapshots.findIndex((other) => other.config.configurable?.checkpoint_id === config.configurable?.checkpoint_id);
  return snapshots.map(({ values, next, parentConfig, metadata, tasks }) => ({
    values,
    next,
    parent: place(parentConfig),
    source: metadata?.source,
    step: metadata?.step,
    tasks: tasks.map(({ name, interrupts }) => [name, interrupts.map(({ value }) => value)]),
  }));
}
