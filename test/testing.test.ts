import { access } from "node:fs/promises";
import { join } from "node:path";
import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { expect, it } from "vitest";
import { packageRoot } from "../src/database/package-root.js";
import { createTestDatabase, startTestServer } from "../src/testing.js";
import { officialClient } from "./gateway/support.js";
import { runProgram } from "./support/processes.js";
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

it("createTestDatabase reads the template of the build, and loads no code that makes one or that serves", async () => {
  // Each module that is asked for, one a line.
  const hooks = `import { writeSync } from "node:fs";
    export async function resolve(name, context, next) {
      const found = await next(name, context);
      writeSync(2, found.url + "\\n");
      return found;
    }`;
  const program = `import { register } from "node:module";
    register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hooks)}`)});
    const { createTestDatabase } = await import("./dist/testing.js");
    await (await createTestDatabase()).close();`;
  const ran = await runProgram(process.execPath, ["--input-type=module", "-e", program], { cwd: packageRoot });
  expect(ran.code, ran.stderr).toBe(0);
  const loaded = ran.stderr.split("\n");
  const packages = loaded.flatMap((url) => /\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? []);
  expect([...new Set(packages)]).toEqual(["@electric-sql/pglite"]);
  expect(loaded.filter((url) => url.endsWith("/dist/database/migrate.js"))).toEqual([]);
  await access(join(packageRoot, "dist", "database", "migrate.js"));
});
