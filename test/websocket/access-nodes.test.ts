import { LoroDoc } from "loro-crdt";
import { MessageType } from "loro-protocol";
import { beforeAll, describe, expect, it } from "vitest";
import {
  declareNotes,
  makeSpace,
  type Node,
  type RawClient,
  rawClient,
  startNode,
  typed,
  withinTwoSeconds,
} from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";

const open = postgres();
let database: TestDatabase;
let nodes: Node[];
let names = 0;

beforeAll(async () => {
  database = await open();
  await declareNotes(database);
  await database.db.query("select perch.declare_encrypted_table(app_id => 'app', table_name => 'diaries')");
  await makeSpace(database, "team", "ada");
});

const asAda = (sql: string, params: readonly unknown[]) => database.asUser("ada", (tx) => tx.query(sql, params));
const newNames = () => {
  names += 1;
  return [`user${names}`, `r${names}`] as const;
};
const setRole = (user: string, role: string) =>
  asAda("select perch.set_space_member(space_id => 'team', user_id => $1, role => $2)", [user, role]);

/** A member of all kinds of rooms of a record, on each of two nodes. */
async function members(user: string, recordId: string): Promise<RawClient[]> {
  nodes = [await startNode(database), await startNode(database)];
  return Promise.all(
    nodes.map(async (node) => {
      const client = await rawClient(node);
      for (const [table, crdt] of [
        ["notes", "%LOR"],
        ["notes", "%EPH"],
        ["notes", "%EPS"],
        ["diaries", "%ELO"],
      ] as const) {
        const answer = await client.join(`team/app/${table}/${recordId}`, { token: user, crdt });
        expect(answer.type).toBe(MessageType.JoinResponseOk);
      }
      return client;
    }),
  );
}

/** What ends the rooms of the clients: the kind of each, and the code. */
async function endings(clients: readonly RawClient[], count: number): Promise<string[][]> {
  return Promise.all(
    clients.map(async (client) => {
      const ended: string[] = [];
      while (ended.length < count) {
        const { crdt, code } = await client.next(MessageType.RoomError);
        ended.push(`${crdt} ${code}`);
      }
      return ended.sort();
    }),
  );
}

describe("on all nodes, within two seconds", () => {
  it("removal from a space ends every kind of room", async () => {
    await withinTwoSeconds(async () => {
      const [user, recordId] = newNames();
      await setRole(user, "editor");
      const clients = await members(user, recordId);
      const since = performance.now();
      await asAda("select perch.remove_space_member(space_id => 'team', user_id => $1)", [user]);
      const ended = ["%ELO 1", "%EPH 1", "%EPS 1", "%LOR 1"];
      expect(await endings(clients, 4)).toEqual([ended, ended]);
      return performance.now() - since;
    });
  });

  it("a change of role has every room joined again", async () => {
    await withinTwoSeconds(async () => {
      const [user, recordId] = newNames();
      await setRole(user, "editor");
      const clients = await members(user, recordId);
      const since = performance.now();
      await setRole(user, "viewer");
      const rejoin = ["%ELO 1", "%EPH 1", "%EPS 1", "%LOR 1"];
      expect(await endings(clients, 4)).toEqual([rejoin, rejoin]);
      const took = performance.now() - since;
      for (const client of clients) {
        const answer = await client.join(`team/app/notes/${recordId}`, { token: user });
        expect(answer).toMatchObject({ permission: "read" });
      }
      return took;
    });
  });

  it("deletion of a document ends its rooms", async () => {
    await withinTwoSeconds(async () => {
      const [user, recordId] = newNames();
      await setRole(user, "editor");
      const clients = await members(user, recordId);
      const [first] = clients;
      expect(await first?.update(`team/app/notes/${recordId}`, [typed(new LoroDoc(), "x")])).toBe(0);
      // Nodes hear of a deletion by a notification, which the worker of each passes on to its documents.
      const listening = await database.db.listen(["perch_documents"], {
        ready: () => undefined,
        notify(_channel, payload) {
          const { space_id: spaceId, app_id: appId, table: tableName, id, seq } = JSON.parse(payload);
          for (const { live } of nodes) live.notified({ spaceId, appId, tableName, recordId: id }, seq);
        },
      });
      const since = performance.now();
      await asAda(
        "select perch.delete_document(app_id => 'app', table_name => 'notes', record_id => $1, space_id => 'team')",
        [recordId],
      );
      expect(await endings(clients, 1)).toEqual([["%LOR 1"], ["%LOR 1"]]);
      const took = performance.now() - since;
      await listening.close();
      return took;
    });
  });
});
