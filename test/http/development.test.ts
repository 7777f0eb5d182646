import { expect, it } from "vitest";
import type { Database } from "../../src/database/types.js";
import { createDevelopment } from "../../src/http/shape/development.js";
import { postgres } from "../support/databases.js";

const open = postgres();

it("a table that nobody synced is made ready for two who ask at the same time", async () => {
  const { db } = await open();
  await db.query("create table at_once (id int primary key)");
  const table = { schema: "public", table: "at_once" };
  let overtaken = false;
  /** Somebody else comes between the context of a transaction, which has read who is in which space, and the making of the space. */
  const overtakenOnce: Database = {
    ...db,
    transaction: (work) =>
      db.transaction((tx) =>
        work({
          ...tx,
          async query(sql: string, params?: readonly unknown[]) {
            if (!overtaken && sql.includes("create_space")) {
              overtaken = true;
              await createDevelopment(db).prepare({ userId: "ann" }, table);
            }
            return tx.query(sql, params as unknown[]);
          },
        } as typeof tx),
      ),
  };
  expect(await createDevelopment(overtakenOnce).prepare({ userId: "bob" }, table)).toBe(true);
  expect(overtaken).toBe(true);
  const members = await db.query<{ user_id: string }>(
    "select user_id from perch.space_members where space_id = 'development' order by user_id",
  );
  expect(members.map(({ user_id }) => user_id)).toEqual(["ann", "bob", "developer"]);
});
