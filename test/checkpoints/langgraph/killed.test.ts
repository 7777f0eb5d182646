import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { migrate } from "../../../src/database/migrate.js";
import { openDatabase } from "../../../src/database/open.js";
import { packageRoot } from "../../../src/database/package-root.js";
import { postgres } from "../../support/databases.js";
import { shortLived } from "../../support/processes.js";

/**
 * An agent in a process of its own, from what is built in dist/: plan, gather, ask for approval, then write or drop. It prints
 * every node that begins, and its result. With HANG_IN a node begins and never ends: it waits to be killed.
 */
const program = `
import { Annotation, Command, END, interrupt, START, StateGraph } from "@langchain/langgraph";
import { openDatabase } from "./dist/index.js";
import { PerchSaver } from "./dist/langgraph/index.js";
const [url, tenantId, thread_id, step] = process.argv.slice(1);
const db = await openDatabase(url);
const State = Annotation.Root({
  log: Annotation({ reducer: (old, added) => [...old, ...added], default: () => [] }),
  topic: Annotation(),
});
const begin = async (name) => {
  console.log("node " + name);
  if (process.env.HANG_IN === name) await new Promise((done) => setTimeout(done, 600000));
};
const node = (name) => async () => {
  await begin(name);
  return { log: [name] };
};
const graph = new StateGraph(State)
  .addNode("plan", node("plan")).addNode("gather", node("gather"))
  .addNode("ask", async ({ topic }) => {
    await begin("ask");
    const answer = interrupt("May I write about " + topic + "?");
    return new Command({ update: { log: ["ask"] }, goto: answer === "yes" ? "write" : "drop" });
  }, { ends: ["write", "drop"] })
  .addNode("write", node("write")).addNode("drop", node("drop"))
  .addEdge(START, "plan").addEdge("plan", "gather").addEdge("gather", "ask").addEdge("write", END).addEdge("drop", END)
  .compile({ checkpointer: new PerchSaver({ db, tenantId }) });
const config = { configurable: { thread_id }, durability: "sync" };
let result;
if (step === "resume") result = await graph.invoke(null, config);
else if (step === "approve") result = await graph.invoke(new Command({ resume: "yes" }), config);
else if (step === "rewind") {
  // Back to before it asked, on a branch of its own; an answer that was given stays given on the old one.
  for await (const past of graph.getStateHistory(config)) {
    if (past.next.includes("ask")) {
      result = await graph.invoke(null, await graph.updateState(past.config, { topic: "birds" }));
      break;
    }
  }
} else if (step === "deny") result = await graph.invoke(new Command({ resume: "no" }), config);
else result = await graph.invoke({ topic: step }, config);
const { values, next } = await graph.getState(config);
console.log("result " + JSON.stringify({ log: values.log, topic: values.topic, next, asked: result?.__interrupt__?.[0]?.value }));
await db.close();
`;

interface Outcome {
  nodes: string[];
  result?: { log: string[]; topic: string; next: string[]; asked?: string };
}

/** Runs a step of the agent. With hangIn the process is ended by SIGKILL once that node has begun. */
function run(url: string, tenantId: string, step: string, hangIn = ""): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const args = [...shortLived, "--input-type=module", "-e", program, url, tenantId, "run", step];
    const child = spawn(process.execPath, args, { cwd: packageRoot, env: { ...process.env, HANG_IN: hangIn } });
    let output = "";
    let errors = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (hangIn !== "" && output.includes(`node ${hangIn}\n`)) child.kill("SIGKILL");
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors += text;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      const ended = hangIn === "" ? code === 0 : signal === "SIGKILL";
      if (!ended) return reject(new Error(`ended with ${code ?? signal}:\n${output}${errors}`));
      const nodes = [...output.matchAll(/^node (\w+)$/gm)].map(([, name]) => name as string);
      const [, result] = /^result (.*)$/m.exec(output) ?? [];
      resolve({ nodes, ...(result === undefined ? {} : { result: JSON.parse(result) as Outcome["result"] }) });
    });
  });
}

/** The beginning of a run, each part of it in another process. */
async function begin(url: string): Promise<void> {
  // Killed between nodes: gather had begun, and nothing of it was done.
  expect(await run(url, "acme", "bees", "gather")).toEqual({ nodes: ["plan", "gather"] });
  // Killed again, one node on: what was done is not done again.
  expect(await run(url, "acme", "resume", "ask")).toEqual({ nodes: ["gather", "ask"] });
  const asked = await run(url, "acme", "resume");
  expect(asked).toEqual({
    nodes: ["ask"],
    result: { log: ["plan", "gather"], topic: "bees", next: ["ask"], asked: "May I write about bees?" },
  });
}

/** The rest of its life. */
async function goOn(url: string): Promise<void> {
  // Another tenant's run of the same thread id knows nothing of it.
  const other = await run(url, "other", "wasps");
  expect(other.nodes).toEqual(["plan", "gather", "ask"]);
  expect(other.result).toMatchObject({ topic: "wasps", next: ["ask"] });
  // Approved, and killed in the middle of what that started.
  expect(await run(url, "acme", "approve", "write")).toEqual({ nodes: ["ask", "write"] });
  const written = await run(url, "acme", "resume");
  expect(written).toEqual({
    nodes: ["write"],
    result: { log: ["plan", "gather", "ask", "write"], topic: "bees", next: [] },
  });
  // Rewound to an older checkpoint, it asks again and takes the other branch, which is the head from then on.
  const rewound = await run(url, "acme", "rewind");
  expect(rewound).toEqual({
    nodes: ["ask"],
    result: { log: ["plan", "gather"], topic: "birds", next: ["ask"], asked: "May I write about birds?" },
  });
  expect(await run(url, "acme", "deny", "drop")).toEqual({ nodes: ["ask", "drop"] });
  expect(await run(url, "acme", "resume")).toEqual({
    nodes: ["drop"],
    result: { log: ["plan", "gather", "ask", "drop"], topic: "birds", next: [] },
  });
  expect(await run(url, "other", "approve")).toMatchObject({
    nodes: ["ask", "write"],
    result: { log: ["plan", "gather", "ask", "write"], topic: "wasps" },
  });
}

describe("a LangGraph graph whose process is killed goes on where it was", () => {
  const open = postgres();
  let folder: string | undefined;
  afterAll(async () => {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  it("on Postgres 18", async () => {
    const t = await open();
    await begin(t.url as string);
    await goOn(t.url as string);
  }, 180_000);

  // Each process takes seconds to open it; what a saver does is the same.
  it("on PGlite", async () => {
    folder = await mkdtemp(join(tmpdir(), "perch-killed-"));
    const url = `pglite:${folder}`;
    const db = await openDatabase(url);
    await migrate(db);
    await db.close();
    await begin(url);
  }, 180_000);
});
