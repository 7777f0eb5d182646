import { Agent, get, type IncomingMessage } from "node:http";

/** Readers of shapes, each a user of its own. */
export interface ShapeReaders {
  /** Resolves when all of them wait for what is new. */
  readonly waiting: Promise<unknown>;
  stop(): void;
}

const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });

function request(
  url: string,
  user: string,
  signal: AbortSignal,
): Promise<{ headers: IncomingMessage["headers"]; text: string }> {
  return new Promise((resolve, reject) => {
    get(url, { agent, headers: { authorization: `Bearer ${user}` }, signal }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () => {
        if (response.statusCode === 200) resolve({ headers: response.headers, text });
        else if (response.statusCode === 503 || response.statusCode === 429) {
          // As the protocol's clients do.
          setTimeout(() => request(url, user, signal).then(resolve, reject), 200);
        } else reject(new Error(`${response.statusCode} ${text}`));
      });
      response.on("error", reject);
    }).on("error", reject);
  });
}

/** All chunks of the first snapshot. Out: how many rows they had. */
export async function firstSync(base: string, table: string, user: string): Promise<number> {
  const { signal } = new AbortController();
  let rows = 0;
  let from = "&offset=-1";
  for (;;) {
    const { headers, text } = await request(`${base}/v1/shape?table=${table}${from}`, user, signal);
    for (const message of JSON.parse(text)) if (message.key !== undefined) rows += 1;
    if (headers["electric-up-to-date"] !== undefined) return rows;
    from = `&offset=${headers["electric-offset"]}&handle=${headers["electric-handle"]}`;
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
  const stop = new AbortController();
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

/** Event streams that nothing comes from. */
export async function idleStreams(base: string, table: string, count: number): Promise<{ stop(): void }> {
  const stop = new AbortController();
  for (let start = 0; start < count; start += 50) {
    await Promise.all(
      Array.from({ length: Math.min(50, count - start) }, async (_, nth) => {
        const user = `stream${start + nth}`;
        let from = "&offset=now";
        const { headers } = await request(`${base}/v1/shape?table=${table}${from}`, user, stop.signal);
        from = `&offset=${headers["electric-offset"]}&handle=${headers["electric-handle"]}&live=true&live_sse=true`;
        const url = `${base}/v1/shape?table=${table}${from}`;
        await new Promise<void>((resolve, reject) => {
          const options = { agent: false as const, headers: { authorization: `Bearer ${user}` }, signal: stop.signal };
          get(url, options, (response) => {
            response.on("error", () => undefined).resume();
            resolve();
          }).on("error", (error) => (stop.signal.aborted ? undefined : reject(error)));
        });
      }),
    );
  }
  return { stop: () => stop.abort() };
}
