import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { WebSocket } from "ws";
import { figure } from "../../support/figures.js";
import { perchProcess } from "../../support/perch-process.js";
import { userToken } from "../../support/user-token.js";
import type { BenchmarkOptions } from "../benchmark.js";
import { openRawRoom } from "./raw-room.js";
import type { Servers } from "./servers.js";

const sockets = 10_000;
const budgetMb = 128;
/** Connecting at the same time. */
const atOnce = 200;

/** What the process takes of the machine's memory, in MB; NaN where there is no /proc. */
function residentMb(pid: number): number {
  try {
    return Number(/VmRSS:\s*(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]) / 1024;
  } catch {
    return Number.NaN;
  }
}

async function inTurns<T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> {
  const made: T[] = [];
  while (made.length < count) {
    const some = Array.from({ length: Math.min(atOnce, count - made.length) }, (_, index) => make(made.length + index));
    made.push(...(await Promise.all(some)));
  }
  return made;
}

/** The same after what was needed on the way has been given back: V8 looks for garbage some seconds after the last work. */
async function settledMb(pid: number): Promise<number> {
  let lowest = residentMb(pid);
  for (let look = 0; look < 12; look++) {
    await pause(1_000);
    lowest = Math.min(lowest, residentMb(pid));
  }
  return lowest;
}

/** Memory in a process of its own, since what another one has done before would hide what the sockets take. */
async function measure(
  { databaseUrl }: Servers,
  open: (url: string) => Promise<unknown>,
): Promise<{ empty: number; more: number }> {
  // All of them are one user's, from one address.
  const limits = {
    PERCH_MAX_SOCKETS_PER_USER: "0",
    PERCH_MAX_SOCKETS_PER_ADDRESS: "0",
    PERCH_MAX_HELD_BYTES_PER_USER: String(2 ** 40),
    PERCH_UNAUTHENTICATED_MS: "600000",
  };
  const perch = await perchProcess({ args: ["worker"], env: { DATABASE_URL: databaseUrl, ...limits } });
  await perch.start();
  const { pid = 0 } = perch;
  try {
    const url = `${perch.url}?token=${userToken("typist")}`;
    // What a first client makes the process load belongs to the empty process.
    (await openRawRoom(url, "/bench/notes/idle")).close();
    const empty = await settledMb(pid);
    await inTurns(sockets, () => open(url));
    return { empty, more: (await settledMb(pid)) - empty };
  } finally {
    await perch.stop();
  }
}

async function connect(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  socket.on("error", () => undefined);
  return socket;
}

/** Memory that sockets take which nobody uses at the moment: open only, and each joined to a room. */
export async function measureIdle(servers: Servers, { print, show }: BenchmarkOptions): Promise<string[]> {
  const connected = await measure(servers, connect);
  const joined = await measure(servers, (url) => openRawRoom(url, "/bench/notes/idle"));
  const row = (name: string, { more }: { more: number }) => [
    name,
    figure(more, "MB"),
    figure((more * 1024) / sockets, "kB"),
  ];
  show([
    [`${figure(sockets)} idle sockets`, "memory", "a socket"],
    ["the empty process", figure(connected.empty, "MB"), ""],
    row("open, more", connected),
    row("each joined to a room, more", joined),
  ]);
  print("");
  const holds = connected.more <= budgetMb ? "  holds" : " MISSED";
  return [`${holds}  ${figure(sockets)} idle sockets: ${figure(connected.more, "MB")}, at most ${budgetMb} MB wanted`];
}
