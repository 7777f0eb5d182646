import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { TypingRun, TypingTask } from "./clients-process.js";

/** The clients of one contender, in a process of their own: what others leave to the garbage collector is not theirs to wait for. */
export interface Clients {
  /** Opens the rooms, types in all of them at once, and leaves them. */
  type(task: Omit<TypingTask, "url">): Promise<TypingRun>;
  stop(): void;
}

/** In: where their server is; undefined for a relay in the very process of the clients. */
export function startClients(kind: "loro" | "yjs", url: string | undefined): Clients {
  const child = fork(fileURLToPath(new URL("clients-process.js", import.meta.url)), [kind]);
  return {
    type: (task) => answerOf(child, { ...task, ...(url === undefined ? {} : { url }) }),
    stop: () => child.kill(),
  };
}

function answerOf(child: ChildProcess, task: TypingTask): Promise<TypingRun> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null) =>
      reject(new Error(`the clients of ${task.url ?? "the relay"} ended with ${code}`));
    child.once("exit", ended);
    child.once("message", (run) => {
      child.off("exit", ended);
      resolve(run as TypingRun);
    });
    child.send(task);
  });
}
