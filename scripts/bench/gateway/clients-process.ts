/** `node clients-process.js loro|yjs`: types what it is told to by messages. */
import { freePort } from "../../support/free-port.js";
import { startRelay } from "./relay.js";
import { openPair } from "./typists.js";
import { openYjsPair } from "./yjs-typists.js";

export interface TypingTask {
  /** Without it they type through a relay in their own process. */
  readonly url?: string;
  readonly rooms: readonly string[];
  readonly seconds: number;
}

export interface TypingRun {
  /** From each keystroke to its reader, in ms. */
  readonly waits: readonly number[];
  readonly elapsedMs: number;
}

const open = process.argv[2] === "yjs" ? openYjsPair : openPair;
let ownRelay: Promise<string> | undefined;

async function startOwnRelay(): Promise<string> {
  const port = await freePort();
  await startRelay(port);
  return `ws://127.0.0.1:${port}/`;
}

async function run({ url, rooms, seconds }: TypingTask): Promise<TypingRun> {
  if (url === undefined) ownRelay ??= startOwnRelay();
  const address = url ?? (await ownRelay) ?? "";
  const pairs = await Promise.all(rooms.map((room) => open(address, room)));
  const settled = performance.now() + 300;
  await Promise.all(pairs.map((pair) => pair.type(settled)));
  const started = performance.now();
  const waits = (await Promise.all(pairs.map((pair) => pair.type(started + seconds * 1000)))).flat();
  const elapsedMs = performance.now() - started;
  for (const pair of pairs) pair.leave();
  return { waits, elapsedMs };
}

// Each client listens for this process going online and offline.
process.setMaxListeners(0);
process.on("message", async (task: TypingTask) => {
  process.send?.(await run(task));
});
process.once("disconnect", () => process.exit());
