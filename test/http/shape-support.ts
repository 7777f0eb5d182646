import { type Message, type Row, Shape, ShapeStream, type ShapeStreamOptions } from "@electric-sql/client";
import type { Node } from "../gateway/support.js";
import { cleanup } from "../gateway/support.js";

// biome-ignore lint/suspicious/noExplicitAny: what the tests look into is what they expect
type Any = any;

export interface ShapeReply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: what the tests look into is what they expect
  readonly body: any;
  readonly offset: string;
  readonly handle: string;
}

/** One request of the protocol. */
export async function askShape(
  node: { gateway: { url: string } },
  query: Record<string, string>,
  { token = "ada", ...init }: RequestInit & { token?: string } = {},
): Promise<ShapeReply> {
  const headers = { authorization: `Bearer ${token}`, ...(init.headers as Record<string, string>) };
  const response = await fetch(`${node.gateway.url}/v1/shape?${new URLSearchParams(query)}`, { ...init, headers });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: text === "" ? undefined : JSON.parse(text),
    offset: response.headers.get("electric-offset") ?? "",
    handle: response.headers.get("electric-handle") ?? "",
  };
}

/** The operations of a reply in short: "insert 1 {…}". */
export function operations({ body }: { body: Any[] }): string[] {
  return body
    .filter(({ headers }) => headers.operation !== undefined)
    .map(({ key, value, headers }) => `${headers.operation} ${key} ${JSON.stringify(value)}`);
}

/** Reads until there is nothing more. Out: all replies. */
export async function readShape(
  node: { gateway: { url: string } },
  query: Record<string, string>,
  init: RequestInit & { token?: string } = {},
  from: { offset: string; handle?: string } = { offset: "-1" },
): Promise<ShapeReply[]> {
  const replies: ShapeReply[] = [];
  for (let { offset, handle } = from; ; ) {
    const reply = await askShape(node, { ...query, offset, ...(handle && { handle }) }, init);
    replies.push(reply);
    if (reply.status !== 200 || reply.headers.has("electric-up-to-date")) return replies;
    ({ offset, handle } = reply);
  }
}

export interface FollowedShape {
  readonly shape: Shape<Row>;
  readonly stream: ShapeStream<Row>;
  readonly messages: Message<Row>[];
  readonly errors: Error[];
}

/** The published client, as it is; it stops after the test. */
export function followShape(
  node: Pick<Node, "gateway">,
  params: ShapeStreamOptions["params"],
  options: Partial<ShapeStreamOptions> & { token?: string } = {},
): FollowedShape {
  const stop = new AbortController();
  cleanup(() => stop.abort());
  const errors: Error[] = [];
  const { token = "ada", ...others } = options;
  const stream = new ShapeStream<Row>({
    url: `${node.gateway.url}/v1/shape`,
    params,
    headers: { authorization: `Bearer ${token}` },
    signal: stop.signal,
    onError: (error) => void errors.push(error as Error),
    ...others,
  });
  const messages: Message<Row>[] = [];
  stream.subscribe(
    (batch) => void messages.push(...batch),
    () => undefined,
  );
  return { shape: new Shape(stream), stream, messages, errors };
}
