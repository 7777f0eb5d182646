import { setMaxListeners } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

/** Readers of shapes, each a user of its own. */
export interface ShapeReaders {
  /** Resolves when all of them wait for what is new. */
  readonly waiting: Promise<unknown>;
  stop(): void;
}

/** Every request listens to it: Node takes more than ten for a leak, and says so, unless it is told that they are meant. */
function stopOfMany(): AbortController {
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  return stop;
}

const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });

interface Reply {
  readonly headers: IncomingMessage["headers"];
  /** Comes behind the headers. */
  readonly text: Promise<string>;
}

/** Out: a reply as soon as its headers are there. */
function ask(url: string, user: string, signal: AbortSignal): Promise<Reply> {
  return new Promise((resolve, reject) => {
    get(url, { agent, headers: { authorization: `Bearer ${user}` }, signal }, (response) => {
      const text = new Promise<string>((ended, failed) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => ended(Buffer.concat(chunks).toString()));
        response.on("error", failed);
      });
      if (response.statusCode === 200) resolve({ headers: response.headers, text });
      else if (response.statusCode === 503 || response.statusCode === 429) {
        // As the protocol's clients do.
        setTimeout(() => ask(url, user, signal).then(resolve, reject), 200);
      } else text.then((problem) => reject(new Error(`${response.statusCode} ${problem}`)), reject);
    }).on("error", reject);
  });
}

async function request(url: string, user: string, signal: AbortSignal) {
  const { headers, text } = await ask(url, user, signal);
  return { headers, text: await text };
}

/**
 * All chunks of the first snapshot, the next asked for as soon as the headers of one say where it begins, as the protocol's client does. Out: how
 * many rows they had, and for how many milliseconds the client did nothing but parse JSON.
 */
export async function firstSync(base: string, table: string, user: string): Promise<{ rows: number; parsing: number }> {
  const { signal } = new AbortController();
  let [rows, parsing] = [0, 0];
  for (let coming = ask(`${base}/v1/shape?table=${table}&offset=-1`, user, signal); ; ) {
    const { headers, text } = await coming;
    const isLast = headers["electric-up-to-date"] !== undefined;
    const from = `&offset=${headers["electric-offset"]}&handle=${headers["electric-handle"]}`;
    if (!isLast) coming = ask(`${base}/v1/shape?table=${table}${from}`, user, signal);
    const body = await text;
    const at = performance.now();
    const messages = JSON.parse(body);
    parsing += performance.now() - at;
    for (const message of messages) if (message.key !== undefined) rows += 1;
    if (isLast) return { rows, parsing };
  }
}

/** In: the filter of each; what is done with each operation. */
export function liveReaders(
  base: string,
  table: string,
  count: number,
  filterOf: (nth: number) => string,
  took: (value: Record<string, string>) => void,
): ShapeReaders {
  const stop = stopOfMany();
  const waiting: Promise<void>[] = [];
  for (let nth = 0; nth < count; nth++) {
    let ready = () => {};
    waiting.push(
      new Promise((resolve) => {
        ready = resolve;
      }),
    );
    const where = encodeURIComponent(filterOf(nth));
    void (async () => {
      let from = "&offset=-1";
      while (!stop.signal.aborted) {
        const { headers, text } = await request(
          `${base}/v1/shape?table=${table}&where=${where}${from}`,
          `reader${nth}`,
          stop.signal,
        );
        const isLive = from.endsWith("&live=true");
        if (isLive) for (const { value } of JSON.parse(text)) if (value !== undefined) took(value);
        const isUpToDate = headers["electric-up-to-date"] !== undefined;
        if (isUpToDate) ready();
        from = `&offset=${headers["electric-offset"]}&handle=${headers["electric-handle"]}${isUpToDate ? "&live=true" : ""}`;
      }
    })().catch((error: unknown) => {
      if (!stop.signal.aborted) throw error;
    });
  }
  return { waiting: Promise.all(waiting), stop: () => stop.abort() };
}

/** How many readers wait there, by what the console is told. */
export async function waitingAt(base: string): Promise<number> {
  const { signal } = new AbortController();
  const { text } = await request(`${base}/v1/console/shapes`, "reader", signal);
  const { readers } = JSON.parse(text) as { readers: { count: number }[] };
  return readers.reduce((sum, { count }) => sum + count, 0);
}

/**
 * Readers that nothing comes to, each a user of its own, as long polls or event streams. They come as fast as they are let in: whoever came all at once
 * would wait in line, and be told to come later. Out: when all of them wait; how many of them were answered all the same.
 */
export async function waitIdle(base: string, table: string, count: number, isStream: boolean) {
  const stop = stopOfMany();
  let ended = 0;
  const { headers } = await request(`${base}/v1/shape?table=${table}&offset=now`, "reader", stop.signal);
  const url = `${base}/v1/shape?table=${table}&offset=${headers["electric-offset"]}&handle=${headers["electric-handle"]}&live=true${isStream ? "&live_sse=true" : ""}`;
  const end = () => {
    if (!stop.signal.aborted) ended += 1;
  };
  const begin = (nth: number) => {
    const asking = get(
      url,
      { agent: false, headers: { authorization: `Bearer reader${nth}` }, signal: stop.signal },
      (response) => {
        // An answer is the end of a long poll, and of a stream when there is no more of it.
        if (!isStream || response.statusCode !== 200) end();
        else response.on("end", end);
        response.on("error", () => undefined).resume();
      },
    );
    asking.on("error", end);
  };
  for (let start = 0; start < count; start += 100) {
    const upto = Math.min(start + 100, count);
    for (let nth = start; nth < upto; nth++) begin(nth);
    while (ended === 0 && (await waitingAt(base)) < upto) await sleep(20);
  }
  return {
    ended: () => ended,
    async stop() {
      stop.abort();
      while ((await waitingAt(base)) > 0) await sleep(20);
    },
  };
}
