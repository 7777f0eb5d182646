import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { beforeAll, expect, it } from "vitest";
import { DocumentStore } from "../../src/documents/index.js";
import { withContext } from "../../src/identity/index.js";
import { startWorker } from "../../src/worker/index.js";
import { cleanup, officialClient, startNode, text, until } from "../gateway/support.js";
import { pull, push, snapshot } from "../log/support.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";

const nothing = { title: null, body: null, stars: null };

describeBothKinds("A document of which no field is set", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query(
      `select perch.declare_table('todo', 'pages', '{"title": "string", "body": "text", "stars": "counter"}')`,
    );
  });

  async function start(user: string) {
    const node = await startNode(t, { env: { PERCH_MERGE_PATIENCE_MS: "60000" } });
    const worker = await startWorker({ db: t.db, live: node.live });
    cleanup(() => worker.close());
    const ask = async (id: string, patch?: object) => {
      const response = await fetch(`${node.gateway.url}/v1/documents/~/todo/pages/${id}`, {
        headers: { authorization: `Bearer ${user}` },
        ...(patch !== undefined && { method: "PATCH", body: JSON.stringify({ patch }) }),
      });
      // biome-ignore lint/suspicious/noExplicitAny: what the tests look into is what they expect
      return { status: response.status, body: (await response.json()) as any };
    };
    return { node, ask };
  }

  it("is there once it was inserted or patched, for GET, pull, snapshots and perch.records alike", async () => {
    const { ask } = await start("ada");
    const page = (id: string, data?: object) => ({ op: "insert", table: "pages", id, ...(data && { data }) });
    await t.asUser("ada", async (tx) => {
      const results = await push(tx, [page("a", {}), page("b", { title: null }), page("c")]);
      expect(results.map(({ status }) => status)).toEqual(["applied", "applied", "applied"]);
    });
    expect(await ask("d", {})).toMatchObject({ status: 200, body: { status: "merged" } });
    expect(await ask("e", { title: null, body: null })).toMatchObject({ status: 200, body: { status: "merged" } });
    const store = new DocumentStore();
    cleanup(() => store.close());
    const written = await withContext(t.db, { userId: "ada" }, (tx) =>
      store.applyPatch(tx, { appId: "todo", tableName: "pages", recordId: "f" }, {}),
    );
    expect(written.data).toEqual(nothing);

    const ids = ["a", "b", "c", "d", "e", "f"];
    await until(async () => {
      const [row] = await t.asUser("ada", (tx) =>
        tx.query<{ n: number }>("select count(*)::int as n from perch.records"),
      );
      return row?.n === ids.length;
    });
    for (const id of ids) expect(await ask(id), id).toMatchObject({ status: 200, body: { id, data: nothing } });
    await t.asUser("ada", async (tx) => {
      const pulled = (await pull(tx)).changes.map(({ op, id, data }) => ({ op, id, data }));
      expect(pulled.sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual(
        ids.map((id) => ({ op: "insert", id, data: nothing })),
      );
      expect((await snapshot(tx)).records.map(({ id, data }) => ({ id, data }))).toEqual(
        ids.map((id) => ({ id, data: nothing })),
      );
    });
    // Again, there is nothing to do.
    const before = await ask("d");
    expect(await ask("d", {})).toMatchObject({ status: 200 });
    expect((await ask("d")).body.data).toEqual(before.body.data);
  });

  it("is in nobody's way: what a client typed offline under the same id is all there, and both see the same", async () => {
    const { node, ask } = await start("bob");
    const doc = new LoroDoc();
    doc.getMap("fields").set("title", "offline");
    doc.getText("body").insert(0, "typed");
    doc.commit();
    await ask("p", {});
    const client = await officialClient(node);
    await client.join({ roomId: "/todo/pages/p", crdtAdaptor: new LoroAdaptor(doc), auth: text("bob") });
    const read = await until(async () => {
      const { body } = await ask("p");
      return body.data?.body === "typed" && body;
    });
    expect(read.data).toEqual({ title: "offline", body: "typed", stars: null });
    expect(doc.toJSON()).toMatchObject({ fields: { title: "offline" }, body: "typed" });
  });
});
