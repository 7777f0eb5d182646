import type { OutgoingHttpHeaders } from "node:http";
import { type Handle, handleText, type Snapshot } from "../../shapes/handle.js";
import { offsetOf, type Position } from "../../shapes/position.js";
import type { OpenedShape } from "../../shapes/queries.js";
import type { Answer } from "../answers.js";
import type { InvalidShape } from "./request.js";

/** Headers of the protocol, which pages of other origins may read. */
export const shapeHeaders = [
  ...["electric-cursor", "electric-handle", "electric-has-data", "electric-offset", "electric-schema"],
  ...["electric-snapshot", "electric-up-to-date", "etag", "location"],
];

/** What a token decides is nobody else's, and is asked for again each time: the next token of this browser may be another user's. */
const caching = { "cache-control": "private, no-cache", vary: "authorization, origin" };
const never = { ...caching, "cache-control": "no-store" };

export function upToDate(lsn: bigint): string {
  return `{"headers":{"control":"up-to-date","global_last_seen_lsn":"${lsn}"}}`;
}

export interface ShapeAnswer {
  readonly handle: Handle;
  readonly columns: OpenedShape["columns"];
  /** Where the reader stood, and stands now. */
  readonly from: Position;
  readonly next: Position;
  /** By themselves, or as a list in JSON. */
  readonly messages: readonly string[] | Buffer;
  readonly isUpToDate: boolean;
  /** Undefined when it was not asked to wait. */
  readonly live: { readonly cursor: string | undefined; readonly everyMs: number } | undefined;
}

const emptyList = "[]".length;

/** One answer of the log, or a chunk of the first snapshot. */
export function shapeAnswer(answer: ShapeAnswer): Answer {
  const { messages, isUpToDate, next } = answer;
  const headers = headersOf(answer);
  if (messages instanceof Buffer) return { status: 200, body: messages, headers };
  const controls = isUpToDate && next.in === "log" ? [upToDate(next.lsn)] : [];
  return { status: 200, body: `[${[...messages, ...controls].join(",")}]`, headers };
}

/** Those of an answer, or of a stream that begins. */
export function headersOf({
  handle,
  columns,
  from,
  next,
  messages,
  isUpToDate,
  live,
}: ShapeAnswer): OutgoingHttpHeaders {
  const text = handleText(handle);
  return {
    ...(live === undefined ? caching : never),
    "electric-handle": text,
    "electric-offset": offsetOf(next),
    "electric-has-data": String(messages.length > (messages instanceof Buffer ? emptyList : 0)),
    etag: `"${text}:${offsetOf(from)}:${offsetOf(next)}"`,
    ...(isUpToDate && { "electric-up-to-date": "" }),
    ...(live === undefined
      ? { "electric-schema": schemaOf(columns) }
      : { "electric-cursor": nextCursor(live.cursor, live.everyMs) }),
  };
}

/** Rows that were asked for beside the log. */
export function shapeSubset(subset: {
  readonly handle: Handle;
  readonly columns: OpenedShape["columns"];
  readonly next: Position;
  /** By commas. */
  readonly messages: string;
  readonly snapshot: Snapshot;
  readonly mark: number;
  /** Whatever the rows show has a smaller lsn, or none. */
  readonly upto: bigint;
}): Answer {
  const { xmin, xmax, open } = subset.snapshot;
  const shown = { xmin: `${xmin}`, xmax: `${xmax}`, xip_list: open.map(String) };
  const metadata = JSON.stringify({ ...shown, snapshot_mark: subset.mark, database_lsn: `${subset.upto}` });
  return {
    status: 200,
    body: `{"metadata":${metadata},"data":[${subset.messages}]}`,
    headers: {
      ...caching,
      "electric-snapshot": "true",
      "electric-handle": handleText(subset.handle),
      "electric-offset": offsetOf(subset.next),
      "electric-schema": schemaOf(subset.columns),
    },
  };
}

/** What is told of a shape's columns: of those that are asked for. */
export function columnsOf(
  { columns }: Pick<OpenedShape, "columns">,
  asked: { readonly columns: readonly string[] | null },
): OpenedShape["columns"] {
  return Object.fromEntries(Object.entries(columns).filter(([name]) => asked.columns?.includes(name) ?? true));
}

/** A header holds Latin-1: whatever is beyond is escaped, as JSON may be. */
function schemaOf(columns: OpenedShape["columns"]): string {
  return JSON.stringify(columns).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Changes with time, and with each answer: no cache takes the next question for one that it has answered. */
function nextCursor(before: string | undefined, everyMs: number): string {
  const next = Math.ceil(Date.now() / everyMs) * Math.ceil(everyMs / 1_000);
  return String(String(next) === before ? next + 1 + Math.floor(Math.random() * 3_600) : next);
}

/** What the reader has is none of this shape any more: all is to be fetched again. In: the request, and a handle that is another. */
export function mustRefetch(target: URL, handle: Handle): Answer {
  const text = handleText(handle);
  const again = new URLSearchParams(target.searchParams);
  for (const name of ["live", "live_sse", "experimental_live_sse", "cursor", "token"]) again.delete(name);
  again.set("handle", text);
  again.set("offset", "-1");
  return {
    status: 409,
    body: '[{"headers":{"control":"must-refetch"}}]',
    headers: { ...never, "electric-handle": text, location: `${target.pathname}?${again}` },
  };
}

/** A parameter is wrong. */
export function invalidAnswer({ errors }: InvalidShape): Answer {
  return { status: 400, body: JSON.stringify({ message: "Invalid request", errors }), headers: never };
}

/** Anything else that failed: its message, in the protocol's form. */
export function failedAnswer(status: number, message: string): Answer {
  const waits = status === 503 || status === 429 ? { "retry-after": "1" } : {};
  return { status, body: JSON.stringify({ message }), headers: { ...never, ...waits } };
}
