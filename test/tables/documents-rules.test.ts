import fc from "fast-check";
import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { JoinErrorCode, MessageType } from "loro-protocol";
import { beforeAll, beforeEach, expect, it } from "vitest";
import { DocumentStore } from "../../src/documents/index.js";
import { withContext } from "../../src/identity/context.js";
import { ackStatus } from "../../src/protocol/protocol.js";
import { startWorker } from "../../src/worker/index.js";
import {
  cleanup,
  makeSpace,
  type Node,
  officialClient,
  type RawClient,
  rawClient,
  startNode,
  text,
  typed,
} from "../gateway/support.js";
import { describeBothKinds, describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { until } from "../support/until.js";
import { adopt } from "../worker/support.js";
import { syncTable } from "./support.js";

const secret = "9-Thulium";
const env = { PERCH_RECHECK_MS: "50" };

async function node(t: TestDatabase): Promise<Node> {
  const started = await startNode(t, { env });
  const worker = await startWorker({ db: t.url === undefined ? t.db : await t.connect(), live: started.live });
  cleanup(() => worker.close());
  return started;
}

/** Somebody who joins a room again whenever asked to, and keeps what is in it. */
class Member {
  doc = new LoroDoc();
  /** Everything that was sent to it. */
  told = "";
  state: "in" | "out" | "joining" = "out";
  permission = "";
  private constructor(
    readonly client: RawClient,
    readonly user: string,
    readonly room: string,
  ) {}

  static async of(to: Node, user: string, room: string): Promise<Member> {
    const client = await rawClient(to, { token: user });
    const member = new Member(client, user, room);
    client.socket.on("message", (data: Buffer) => {
      member.told += data.toString("latin1");
    });
    return member;
  }

  async join(): Promise<this> {
    this.state = "joining";
    const answer = await this.client.join(this.room, { token: this.user, version: this.doc.version().encode() });
    if (answer.type === MessageType.JoinError) {
      expect(answer.code).toBe(JoinErrorCode.AuthFailed);
      this.state = "out";
    } else {
      this.state = "in";
      this.permission = answer.permission;
    }
    return this;
  }

  /** Takes in what has come. */
  async look(): Promise<this> {
    for (let at = 0; at < this.client.inbox.length; ) {
      const message = this.client.inbox[at];
      if (message?.type === MessageType.DocUpdate) this.doc.importBatch(message.updates);
      else if (message?.type === MessageType.RoomError) {
        this.client.inbox.splice(at, 1);
        await this.join();
        continue;
      } else {
        at += 1;
        continue;
      }
      this.client.inbox.splice(at, 1);
    }
    return this;
  }

  text = () => this.doc.getText("body").toString();
  is = (state: "in" | "out") => until(async () => (await this.look()).state === state, `${this.user} to be ${state}`);
  says = (what: string) => until(async () => (await this.look()).text() === what, `${this.user} to have ${what}`);
  type = (letters: string) => this.client.update(this.room, [typed(this.doc, letters)]);
}

describeBothKinds("documents in columns of tables with rules", (open) => {
  let t: TestDatabase;
  let nth = 0;
  let space = "";
  beforeAll(async () => {
    t = await open();
    await t.db.transaction((tx) =>
      tx.script(`
          create table plans (id int primary key, team text, owner text, body text not null default '', title text);
          create table helpers (plan int, helper text);`),
    );
    await syncTable(
      t.db,
      "plans",
      `space_column => 'team', writable_columns => '{body,title}', documents => '{"body": "text"}', column_roles => '{"body": ["owner", "editor"]}',
         row_filter => 'owner = perch.current_user_id() or exists (select from public.helpers h where h.plan = plans.id and h.helper = perch.current_user_id())'`,
    );
  });
  beforeEach(async () => {
    nth += 1;
    space = `team${nth}`;
    await makeSpace(t, space, "olga", { eddy: "editor", vera: "viewer" });
    await t.db.query("insert into plans values ($1, $2, 'eddy', 'one'), ($3, $2, 'olga', $4), ($5, $2, 'vera', 'v')", [
      nth * 10,
      space,
      nth * 10 + 1,
      secret,
      nth * 10 + 2,
    ]);
  });
  const room = (n: number) => `${space}/shop/plans/${nth * 10 + n}`;
  const change = (set: string, n = 0) => t.db.query(`update plans set ${set} where id = $1`, [nth * 10 + n]);

  it("are joined by whoever sees their row; of the others nobody learns whether there is one", async () => {
    const to = await node(t);
    const eddy = await (await Member.of(to, "eddy", room(0))).join();
    expect(eddy).toMatchObject({ state: "in", permission: "write" });
    await eddy.says("one");
    const answers = [];
    for (const n of [1, 9]) {
      const client = await rawClient(to, { token: "eddy" });
      for (const crdt of ["%LOR", "%EPH"] as const) {
        const { roomId: _, ...answer } = await client.join(room(n), { token: "eddy", crdt });
        answers.push(answer);
      }
    }
    expect(answers).toMatchObject(Array(4).fill({ code: JoinErrorCode.AuthFailed }));
    expect(answers.slice(0, 2)).toEqual(answers.slice(2));
    // The column is for editors and owners, whoever's the row is.
    expect((await (await Member.of(to, "vera", room(2))).join()).state).toBe("out");
  });

  it("end for those who no longer see the row, by a change of it, of what the filter reads, or of their role", async () => {
    const to = await node(t);
    await t.db.query("insert into helpers values ($1, 'olga')", [nth * 10]);
    const [eddy, olga] = [await Member.of(to, "eddy", room(0)), await Member.of(to, "olga", room(0))];
    await eddy.join();
    await olga.join();
    expect([eddy.state, olga.state]).toEqual(["in", "in"]);
    await t.db.query("delete from helpers where plan = $1", [nth * 10]);
    await olga.is("out");
    await eddy.says("one");
    expect(await eddy.type(` ${secret}`)).toBe(ackStatus.ok);
    await change("owner = 'olga'");
    await eddy.is("out");
    await olga.join();
    await olga.says(`one ${secret}`);
    // A batch that comes all the same.
    await change("owner = 'eddy'");
    await olga.is("out");
    await eddy.join();
    await t.asUser("olga", (tx) => tx.query("select perch.set_space_member($1, 'eddy', 'viewer')", [space]));
    await eddy.is("out");
  });

  it("take nothing from whoever does not see the row at that moment", async () => {
    const to = await startNode(t, { env: { PERCH_RECHECK_MS: "60000" } });
    const worker = await startWorker({ db: t.db, live: to.live });
    cleanup(() => worker.close());
    const eddy = await (await Member.of(to, "eddy", room(0))).join();
    await eddy.says("one");
    await change("owner = 'olga'");
    expect(await eddy.type("more")).toBe(ackStatus.permissionDenied);
    expect(await t.db.query("select body from plans where id = $1", [nth * 10])).toEqual([{ body: "one" }]);
  });

  it("are read and written over HTTP, by SQL and by a store under the same rules, and are else not there", async () => {
    const to = await node(t);
    const store = new DocumentStore();
    cleanup(() => store.close());
    const ask = async (n: number, path: string, init: RequestInit = {}) => {
      const response = await fetch(`${to.gateway.url}/v1/documents/${room(n)}${path}`, {
        ...init,
        headers: { authorization: "Bearer eddy" },
      });
      return { status: response.status, body: (await response.text()).replaceAll(/plans\W+\d+|"\d+"/g, "") };
    };
    const patch = { method: "PATCH", body: JSON.stringify({ patch: { body: "patched" } }) };
    expect((await ask(0, "")).body).toContain('"one"');
    expect((await ask(0, "", patch)).status).toBe(200);
    for (const [path, init] of [
      ["", {}],
      ["?seq=1", {}],
      ["/history", {}],
      ["", patch],
    ] as const) {
      const [hidden, missing] = [await ask(1, path, init), await ask(9, path, init)];
      expect(hidden, path).toEqual(missing);
      expect(hidden.status, path).toBe(404);
    }
    const id = (n: number) => String(nth * 10 + n);
    const failing = (sql: string, n: number) =>
      t
        .asUser("eddy", (tx) => tx.query(sql, [id(n), space]))
        .then(
          () => "done",
          ({ code, message }: { code: string; message: string }) => `${code} ${message}`,
        );
    for (const sql of [
      "select perch.document_state('shop', 'plans', $1, $2)",
      "select perch.current_document('shop', 'plans', $1, $2)",
      "select perch.document_versions('shop', 'plans', $1, $2)",
      `select perch.patch_document('shop', 'plans', $1, '{"body": "x"}', $2)`,
    ]) {
      expect(await failing(sql, 0), sql).toBe("done");
      expect(await failing(sql, 1), sql).toMatch(/^PE404/);
      expect(await failing(sql, 1)).toBe(await failing(sql, 9));
    }
    const write = (n: number) =>
      withContext(t.db, { userId: "eddy" }, (tx) =>
        store.applyPatch(
          tx,
          { spaceId: space, appId: "shop", tableName: "plans", recordId: id(n) },
          { body: "stored" },
        ),
      );
    expect((await write(0)).data).toMatchObject({ body: expect.stringContaining("stored") });
    await expect(write(1)).rejects.toMatchObject({ code: "PE404" });
    await expect(
      withContext(t.db, { userId: "eddy" }, (tx) =>
        store.snapshot(tx, { spaceId: space, appId: "shop", tableName: "plans", recordId: id(1) }),
      ),
    ).rejects.toMatchObject({ code: "PE404" });
    // Which documents there are is nobody's to list.
    expect(await t.asUser("olga", (tx) => tx.query("select from perch.documents where table_name = 'plans'"))).toEqual(
      [],
    );
  });

  it("are not made where a filter reads them, nor where not all of them are for the same roles", async () => {
    await t.db.query("create table if not exists drafts (id int primary key, team text, a text, b text)");
    const sync = (more: string) =>
      syncTable(t.db, "drafts", `space_column => 'team', documents => '{"a": "text", "b": "text"}', ${more}`);
    await expect(sync("row_filter => 'a is not null'")).rejects.toMatchObject({
      code: "PE422",
      detail: { column: "a" },
    });
    await expect(sync(`column_roles => '{"a": ["owner"]}'`)).rejects.toMatchObject({ code: "PE422" });
    await expect(sync(`column_roles => '{"a": ["owner", "editor"], "b": ["owner"]}'`)).rejects.toMatchObject({
      code: "PE422",
    });
    await sync(`column_roles => '{"a": ["owner", "editor"], "b": ["editor", "owner"]}', row_filter => 'id > 3'`);
  });
});

/** What changes who is in which room. */
const step = fc.oneof(
  fc.record({
    is: fc.constant("owner" as const),
    row: fc.nat(2),
    user: fc.constantFrom("eddy", "vera", "nina", "all"),
  }),
  fc.record({
    is: fc.constant("helper" as const),
    row: fc.nat(2),
    user: fc.constantFrom("eddy", "vera", "nina"),
    comes: fc.boolean(),
  }),
  fc.record({
    is: fc.constant("role" as const),
    user: fc.constantFrom("eddy", "vera", "nina"),
    role: fc.constantFrom("viewer", "editor", "owner", null),
  }),
  fc.record({ is: fc.constant("move" as const), row: fc.nat(2), away: fc.boolean() }),
  fc.record({ is: fc.constant("rules" as const), open: fc.boolean() }),
);

describeEachPostgres("rooms of a table with rules, by an oracle", (open) => {
  it("have those in them for whom select shows the row, and nobody else is sent what is typed", async () => {
    const t = await open();
    await t.db.transaction((tx) =>
      tx.script(`create table sheets (id int primary key, team text, owner text, body text not null default '');
                 create table aides (sheet int, helper text, primary key (sheet, helper));`),
    );
    const filters = {
      some: `owner in (perch.current_user_id(), 'all') or exists (select from public.aides h where h.sheet = sheets.id and h.helper = perch.current_user_id())`,
      more: "true",
    };
    const to = await node(t);
    let nth = 0;
    const run = async (steps: (typeof step extends fc.Arbitrary<infer T> ? T : never)[]) => {
      nth += 1;
      const space = `sheets${nth}`;
      const id = (row: number) => nth * 10 + row;
      let filter: keyof typeof filters = "some";
      const sync = () =>
        t.db.query(
          `select perch.sync_table('sheets', 'shop', space_column => 'team', documents => '{"body": "text"}', row_filter => $1, column_roles => '{"body": ["owner", "editor"]}')`,
          [filters[filter]],
        );
      await sync();
      await makeSpace(t, space, "olga", { eddy: "editor", vera: "viewer", nina: "editor" });
      await t.db.query("insert into sheets select g, $1, 'all' from generate_series($2::int, $2 + 2) g", [
        space,
        id(0),
      ]);
      const members: Member[] = [];
      for (const row of [0, 1, 2]) {
        for (const user of ["eddy", "vera", "nina", "olga"]) {
          members.push(await Member.of(to, user, `${space}/shop/sheets/${id(row)}`));
        }
      }
      const sees = async ({ user, room }: Member) => {
        const [row] = await t.db.transaction(async (tx) => {
          await tx.query("select set_config('app.current_user_id', $1, true)", [user]);
          return tx.query<{ sees: boolean }>(
            `select coalesce((select ${filters[filter]} from sheets where id = $1 and team = $2), false) and exists (
               select from perch.space_members m where m.space_id = $2 and m.user_id = $3 and m.role in ('owner', 'editor')) as sees`,
            [Number(room.split("/").at(-1)), space, user],
          );
        });
        return row?.sees === true;
      };
      let word = 0;
      for (const one of [undefined, ...steps]) {
        if (one?.is === "owner")
          await t.db.query("update sheets set owner = $2 where id = $1", [id(one.row), one.user]);
        if (one?.is === "move")
          await t.db.query("update sheets set team = $2 where id = $1", [id(one.row), one.away ? "elsewhere" : space]);
        if (one?.is === "helper")
          await t.db.query(
            one.comes
              ? "insert into aides values ($1, $2) on conflict do nothing"
              : "delete from aides where sheet = $1 and helper = $2",
            [id(one.row), one.user],
          );
        if (one?.is === "role")
          await t.asUser("olga", (tx) =>
            one.role === null
              ? tx.query("select perch.remove_space_member($1, $2)", [space, one.user])
              : tx.query("select perch.set_space_member($1, $2, $3)", [space, one.user, one.role]),
          );
        if (one?.is === "rules") {
          filter = one.open ? "more" : "some";
          await sync();
        }
        for (const member of members) {
          const wanted = (await sees(member)) ? "in" : "out";
          if (wanted === "in" && member.state === "out") {
            // What it had is of an earlier time, and the row may have been away meanwhile.
            member.doc = new LoroDoc();
            await member.join();
          }
          await member.is(wanted);
        }
        // What is typed now is for those who are in, and comes to nobody else.
        for (const row of [0, 1, 2]) {
          const there = members.filter(({ room, state }) => room.endsWith(`/${id(row)}`) && state === "in");
          const [typist] = there;
          if (typist === undefined) continue;
          word += 1;
          const mark = `t0k${nth}x${word}e`;
          expect(await typist.type(mark)).toBe(ackStatus.ok);
          for (const other of there)
            await until(async () => (await other.look()).text().includes(mark), `${other.user} to have ${mark}`);
          for (const other of members.filter((one) => !there.includes(one) && one.room === typist.room)) {
            expect(other.told, `${other.user} in ${other.room}`).not.toContain(mark);
          }
        }
      }
      for (const { client } of members) client.socket.terminate();
    };
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 10 }), run), {
      numRuns: Number(process.env.PERCH_RULES_RUNS ?? 2),
      endOnFailure: true,
    });
  });
});

describeBothKinds("what a table refuses of typing", (open) => {
  it("comes back as an edit, and the official client's adaptor is told that the update was invalid", async () => {
    const t = await open();
    await t.db.query("create table labels (id int primary key, team text, body varchar(8) not null)");
    await syncTable(t.db, "labels", `space_column => 'team', documents => '{"body": "text"}'`);
    await t.db.query("insert into labels values (1, '~ada', 'short')");
    const to = await node(t);
    const key = { spaceId: "~ada", appId: "shop", tableName: "labels", recordId: "1" };
    await adopt(to, key);
    const doc = new LoroDoc();
    const errors: [number, string | undefined][] = [];
    const client = officialClient(to, { token: "ada" });
    await client.waitConnected();
    const adaptor = new LoroAdaptor(doc, { onUpdateError: (_, code, reason) => void errors.push([code, reason]) });
    await client.join({ roomId: "/shop/labels/1", crdtAdaptor: adaptor, auth: text("ada") });
    await until(() => doc.getText("body").toString() === "short", "what is there to come");
    const type = (letters: string) => {
      doc.getText("body").insert(5, letters);
      doc.commit();
    };
    type(" and long");
    await until(() => errors.length > 0, "the editor to be told");
    expect(errors).toEqual([[ackStatus.invalidUpdate, "invalid_update"]]);
    await until(() => doc.getText("body").toString() === "short", "the edit to be taken back");
    type("er");
    await until(async () => {
      const [row] = await t.db.query<{ body: string }>("select body from labels");
      return row?.body === "shorter";
    }, "typing to go on");
    expect(errors.length).toBe(1);
  });
});
