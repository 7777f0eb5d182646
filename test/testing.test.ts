import { expect, it } from "vitest";
import { createTestDatabase } from "../src/testing.js";

it("createTestDatabase gives migrated databases that know nothing of each other", async () => {
  const [one, two] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  await one.transaction(async (tx) => {
    await tx.query("select perch.set_context(user_id => 'ada')");
    await tx.query("select perch.create_space(space_id => 'team')");
  });
  const members = "select space_id, user_id, role from perch.space_members";
  const asAda = (db: typeof one) =>
    db.transaction(async (tx) => {
      await tx.query("set local role perch_app");
      await tx.query("select perch.set_context(user_id => 'ada')");
      return tx.query(members);
    });
  expect(await asAda(one)).toEqual([{ space_id: "team", user_id: "ada", role: "owner" }]);
  expect(await asAda(two)).toEqual([]);
  await Promise.all([one.close(), two.close()]);
});
