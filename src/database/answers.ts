import type { Duplex } from "node:stream";
import pg from "pg";
import { PerchError } from "../errors.js";

/** There was no answer in time. Whether the statement took effect is not known, and the server may still be at it. */
export class NoAnswer extends Error {
  constructor(ms: number) {
    super(`the database did not answer within ${ms} ms`);
    this.name = "NoAnswer";
  }
}

/** What the server itself did not answer says that nothing more can be asked on the connection; nor can it after some of its answers. */
export function breaks(error: unknown): boolean {
  if (error instanceof PerchError) return false;
  return !(error instanceof pg.DatabaseError) || /^(08|57P|XX)/.test(error.code ?? "XX");
}

/** What was asked, when it comes in time. Errors: NoAnswer. */
export async function within<T>(ms: number, asked: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new NoAnswer(ms)), ms);
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Ends a connection without a word to the server. */
export function cut(client: pg.PoolClient): void {
  (client as unknown as { connection: { stream: Duplex } }).connection.stream.destroy();
}
