/** One event of a stream, or the id that came without one. */
export interface ServerSentEvent {
  readonly event: string;
  readonly data: string | undefined;
  readonly id: string | undefined;
}

/**
 * Reads Server-Sent Events by the rules of EventSource (which itself can set no headers, and so carries tokens in addresses). `retry` is called
 * with the milliseconds that the server wants its clients to wait, `touch` with every piece that comes.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  on: { readonly retry: (ms: number) => void; readonly touch: () => void },
): AsyncGenerator<ServerSentEvent, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let event = "";
  let data: string[] = [];
  let id: string | undefined;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      on.touch();
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
        if (line === "") {
          if (data.length > 0 || id !== undefined) {
            yield { event: event || "message", data: data.length > 0 ? data.join("\n") : undefined, id };
          }
          event = "";
          data = [];
          id = undefined;
          continue;
        }
        const [, field = "", content = ""] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
        if (field === "data") data.push(content);
        else if (field === "event") event = content;
        else if (field === "id") id = content;
        else if (field === "retry" && /^\d+$/.test(content)) on.retry(Number(content));
      }
    }
  } finally {
    // The connection is of no more use, also when the reader goes in the middle of it.
    await reader.cancel().catch(() => undefined);
  }
}
