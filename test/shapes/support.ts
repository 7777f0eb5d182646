import { type RowsPage, rowsBody } from "../../src/shapes/queries.js";

// biome-ignore lint/suspicious/noExplicitAny: what the protocol says
type Message = any;

/** What a chunk says of rows. */
export const operations = (page: RowsPage): Message[] =>
  JSON.parse(String(rowsBody(page, Number.POSITIVE_INFINITY))).filter(({ key }: Message) => key !== undefined);
