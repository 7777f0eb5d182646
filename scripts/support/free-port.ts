import { createServer } from "node:net";

/** Below those that the system gives to whoever asks for any port, and to connections that go out. */
const range = { from: 10_000, to: 32_000 };
/** Of these the one to which fetch sends nothing ("bad port", of the Fetch standard's list). */
const blockedByFetch = 10_080;

async function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  try {
    await new Promise<void>((done, fail) => probe.once("error", fail).listen(port, "127.0.0.1", done));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return false;
    throw error;
  }
  await new Promise((done) => probe.close(done));
  return true;
}

/**
 * A TCP port of this machine that nobody uses now, for a process that is yet to be started, or to be started again. Nobody else may get it
 * meanwhile, or what was meant for that process would reach another one, which knows the same keys and answers for a database of its own:
 * so it is drawn at random from those that the system hands out to nobody.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = range.from + Math.floor(Math.random() * (range.to - range.from));
    if (port !== blockedByFetch && (await isFree(port))) return port;
  }
}
