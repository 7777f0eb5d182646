import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { expect, it } from "vitest";
import { createTestDatabase, startTestServer } from "../src/testing.js";
import { officialClient } from "./gateway/support.js";
import { until } from "./support/until.js";

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

it("createTestDatabase gives each database a log of its own: a cursor of one is refused by another", async () => {
  const [one, two] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  const epochOf = async (db: typeof one) =>
    (await db.query<{ epoch: string }>("select epoch from perch.log_epoch"))[0]?.epoch;
  expect(await epochOf(one)).not.toBe(await epochOf(two));
  await Promise.all([one.close(), two.close()]);
});

it("startTestServer serves HTTP and Loro on a database of its own, until it is closed", async () => {
  const server = await startTestServer();
  const ask = async (path: string, body: unknown) => {
    const response = await fetch(server.url + path, {
      method: "POST",
      headers: { authorization: "Bearer ann" },
      body: JSON.stringify(body),
    });
    return response.json();
  };
  const change = { op: "insert", table: "tasks", id: "t1", data: { title: "Buy milk" } };
  expect(await ask("/v1/push", { app_id: "todo", changes: [change] })).toMatchObject({
    results: [{ status: "applied" }],
  });
  expect(await ask("/v1/pull", { app_id: "todo" })).toMatchObject({ changes: [{ id: "t1", user_id: "ann" }] });

  await server.db.query(
    `select perch.declare_table(app_id => 'todo', table_name => 'notes', fields => '{"body": "text"}')`,
  );
  const document = new LoroDoc();
  const client = officialClient({ url: server.url.replace("http", "ws") }, { token: "ann" });
  await client.waitConnected();
  await client.join({ roomId: "/todo/notes/n1", crdtAdaptor: new LoroAdaptor(document) });
  document.getText("body").insert(0, "Hello");
  document.commit();
  const shown = async () => {
    const [row] = await server.db.query<{ data: unknown }>(
      "select data from perch.stored_records where record_id = 'n1'",
    );
    return row?.data;
  };
  await until(shown);
  client.destroy();
  await server.close();
  await expect(fetch(server.url)).rejects.toThrow();
});
