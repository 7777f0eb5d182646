import type pg from "pg";

/** Reads what a COPY … TO STDOUT sends, to its end. Out: how many rows. */
export function copyOut(client: pg.Client, sql: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let rows = 0;
    const submittable = {
      submit: (connection: { query(text: string): void }) => connection.query(sql),
      handleCopyData: () => {
        rows += 1;
      },
      handleRowDescription: () => undefined,
      handleCommandComplete: () => undefined,
      handleEmptyQuery: () => undefined,
      handleError: reject,
      handleReadyForQuery: () => resolve(rows),
    };
    client.query(submittable as unknown as pg.Query);
  });
}
