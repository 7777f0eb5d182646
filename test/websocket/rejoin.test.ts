import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { JoinErrorCode, MessageType } from "loro-protocol";
import { beforeAll, describe, expect, it } from "vitest";
import type { Database } from "../../src/database/types.js";
import type { LiveDocuments } from "../../src/documents/live.js";
import { rememberDocument, storedText } from "../documents/live/support.js";
import {
  cleanup,
  declareNotes,
  makeSpace,
  type Node,
  officialClient,
  rawClient,
  startNode,
  text,
  typed,
  until,
} from "../gateway/support.js";
import { metric } from "../http/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { pause } from "../support/until.js";

const open = postgres();
let database: TestDatabase;
let rooms = 0;
const newRoom = () => `team/app/notes/h${++rooms}`;

beforeAll(async () => {
  database = await open();
  await declareNotes(database);
  await makeSpace(database, "team", "ada", { bob: "editor", eve: "viewer" });
});

async function member(node: { url: string }, roomId: string, user: string) {
  const refused: number[] = [];
  const statuses: string[] = [];
  const doc = new LoroDoc();
  const crdtAdaptor = new LoroAdaptor(doc, { onUpdateError: (_, code) => refused.push(code) });
  const client = officialClient(node);
  const room = await client.join({
    roomId,
    crdtAdaptor,
    auth: text(user),
    onStatusChange: (status) => statuses.push(status),
  });
  return { client, room, doc, refused, statuses, body: () => doc.getText("body").toString() };
}

/** Cuts the connection as a network would. */
const cut = (client: { socket: unknown }) => (client.socket as { terminate(): void }).terminate();

/** Makes every append fail in the database, until the returned function is called. */
async function breakAppends(): Promise<() => Promise<void>> {
  await database.db.query(`create or replace function perch.broken() returns trigger language plpgsql as
    $$ begin raise exception 'out of order' using errcode = 'P0001'; end $$`);
  await database.db.query(
    "create trigger broken before insert on perch.document_updates for each statement execute function perch.broken()",
  );
  const repair = async () => {
    await database.db.query("drop trigger if exists broken on perch.document_updates");
  };
  cleanup(repair);
  return repair;
}

/** Answers joins late, as a busy database does. */
const slowly =
  (ms: number) =>
  (live: LiveDocuments): LiveDocuments => ({
    ...live,
    async open(key) {
      await pause(ms);
      return live.open(key);
    },
  });

/** Reads documents late, as a busy database does: what was committed meanwhile is found. */
const lateReads = (ms: number): Database => ({
  ...database.db,
  async query<Row>(sql: string, params?: readonly unknown[]) {
    if (sql.includes("perch.open_document")) await pause(ms);
    return database.db.query<Row>(sql, params);
  },
});

describe("an official client", () => {
  it("ends up right after the database refused what it typed, without a reload", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [writer, reader] = [await member(node, roomId, "ada"), await member(node, roomId, "bob")];
    typed(writer.doc, "before ");
    await until(() => reader.body() === "before ");
    const repair = await breakAppends();
    for (const letter of "while it fails ") typed(writer.doc, letter);
    await until(() => writer.refused.length > 0);
    expect(reader.body()).toBe("before ");
    await repair();
    typed(writer.doc, "after");
    await until(() => reader.body() === "before while it fails after");
    typed(reader.doc, "!");
    await until(() => writer.body() === "before while it fails after!");
  });

  it("loses nothing that it types while it is away and while it waits for the answer to its join", async () => {
    const node = await startNode(database, { db: lateReads(200), wrapLive: slowly(300) });
    const roomId = newRoom();
    const [writer, reader] = [await member(node, roomId, "ada"), await member(node, roomId, "bob")];
    typed(writer.doc, "online ");
    await until(() => reader.body() === "online ");
    for (let round = 0; round < 2; round++) {
      cut(writer.client);
      // For longer than it is away and the join takes.
      for (let n = 0; n < 40; n++) {
        typed(writer.doc, String(n % 10));
        await pause(20);
      }
      await until(() => reader.body() === writer.body());
    }
    // What built on edits that were still to come waited for them: nothing was refused.
    expect(writer.refused).toEqual([]);
  });

  it("is slowed down, not cut off, when it sends too fast, and loses nothing", async () => {
    const node = await startNode(database, { env: { PERCH_MAX_BATCHES_PER_SECOND: "20" } });
    const roomId = newRoom();
    const [writer, reader] = [await member(node, roomId, "ada"), await member(node, roomId, "bob")];
    const body = "x".repeat(200);
    for (const letter of body) typed(writer.doc, letter);
    await until(() => reader.body() === body);
    expect(new Set(writer.refused)).toEqual(new Set([6]));
  });

  it("that writes what is not declared is refused, and tried again only so often", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [writer, reader] = [await member(node, roomId, "ada"), await member(node, roomId, "bob")];
    writer.doc.getMap("undeclared").set("x", 1);
    writer.doc.commit();
    await until(() => writer.refused.length > 0);
    typed(reader.doc, "honest");
    await until(() => writer.body() === "honest");
    const before = writer.statuses.length;
    // How often in so long a time is what it is about.
    await pause(2_500);
    expect(writer.statuses.length - before).toBeLessThan(12);
    typed(writer.doc, " lost");
    typed(reader.doc, " more");
    await until(() => writer.doc.toJSON().body.includes("more"));
    expect(new Set(writer.refused)).toEqual(new Set([4]));
    expect(reader.doc.getMap("undeclared").toJSON()).toEqual({});
    typed(reader.doc, " still");
    await until(() => writer.doc.toJSON().body.includes("still"));
  });

  it("brings back what a database that went back has lost, also where others have got its positions since", async () => {
    for (const others of [false, true]) {
      const [node, elsewhere] = [await startNode(database), await startNode(database)];
      const roomId = newRoom();
      const key = { spaceId: "team", appId: "app", tableName: "notes", recordId: roomId.split("/")[3] ?? "" };
      const [writer, reader] = [await member(node, roomId, "ada"), await member(node, roomId, "bob")];
      const bodies = () => [writer.body(), reader.body()];
      typed(writer.doc, "kept");
      await until(() => reader.body() === "kept");
      const goBack = await rememberDocument(database.db, key);
      for (const letter of "lost") typed(writer.doc, letter);
      await until(() => reader.body() === "keptlost");
      await goBack();
      if (others) {
        const other = await member(elsewhere, roomId, "bob");
        for (const letter of "new!") typed(other.doc, letter);
        await until(async () => (await storedText(database.db, key)) === "keptnew!");
      }
      typed(writer.doc, ".");
      await until(() =>
        bodies().every(
          (body) => body === bodies()[0] && body.includes("lost.") && body.includes(others ? "new!" : "kept"),
        ),
      );
      expect(await storedText(database.db, key)).toBe(writer.body());
    }
  });

  it("is told when its document is deleted, and does not bring the old content back", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [writer, raw] = [await member(node, roomId, "ada"), await rawClient(node)];
    await raw.join(roomId, { token: "bob" });
    typed(writer.doc, "old life");
    await raw.next(MessageType.DocUpdate);
    const recordId = roomId.split("/")[3];
    await database.asUser("ada", (tx) =>
      tx.query(
        "select perch.delete_document(app_id => 'app', table_name => 'notes', record_id => $1, space_id => 'team')",
        [recordId],
      ),
    );
    typed(writer.doc, " goes on");
    expect(await raw.next(MessageType.RoomError)).toMatchObject({ code: 1 });
    await until(() => writer.statuses.at(-1) === "error", "the app sees that the room has ended");
    // Nobody is in the room any more.
    await until(async () => !(await metric(node, 'perch_rooms{type="lor"}')));
    typed(writer.doc, " and on");
    // Once: who comes again comes to the new document of this name.
    expect(await raw.join(roomId, { token: "bob" })).toMatchObject({ code: JoinErrorCode.AuthFailed });
    expect(await raw.join(roomId, { token: "bob" })).toMatchObject({ permission: "write" });
    const fresh = await member(node, roomId, "bob");
    await fresh.room.waitForReachingServerVersion();
    expect(fresh.body()).toBe("");
  });

  it("is told when it is no member any more", async () => {
    const node = await startNode(database, { env: { PERCH_RECHECK_MS: "100" } });
    const setRole = (role: string) =>
      database.asUser("ada", (tx) =>
        tx.query("select perch.set_space_member(space_id => 'team', user_id => 'gone', role => $1)", [role]),
      );
    await setRole("editor");
    const leaver = await member(node, newRoom(), "gone");
    await database.asUser("ada", (tx) =>
      tx.query("select perch.remove_space_member(space_id => 'team', user_id => 'gone')"),
    );
    await until(() => leaver.statuses.at(-1) === "error", "the app sees that the room has ended");
    expect(leaver.statuses).not.toContain("disconnected");
  });

  it("becomes an editor without a reload, and what it typed as a viewer arrives then", async () => {
    const node = await startNode(database, { env: { PERCH_RECHECK_MS: "100" } });
    const roomId = newRoom();
    const [viewer, reader] = [await member(node, roomId, "eve"), await member(node, roomId, "ada")];
    typed(viewer.doc, "may I?");
    await until(() => viewer.refused.length > 0);
    expect(viewer.refused).toEqual([3]);
    const setRole = (role: string) =>
      database.asUser("ada", (tx) =>
        tx.query("select perch.set_space_member(space_id => 'team', user_id => 'eve', role => $1)", [role]),
      );
    await setRole("editor");
    await until(() => reader.body() === "may I?");
    await setRole("viewer");
    const raw = await rawClient(node);
    expect(await raw.join(roomId, { token: "eve" })).toMatchObject({ permission: "read" });
  });

  it("reconnects after the database was away, through sockets closed with a code it retries on", async () => {
    let away = false;
    let refusals = 0;
    const unreachable = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
    const db = {
      ...database.db,
      query: <Row>(sql: string, params?: readonly unknown[]) =>
        away && ++refusals ? Promise.reject(unreachable) : database.db.query<Row>(sql, params),
    };
    const node: Node = await startNode(database, { db, env: { PERCH_JOIN_PATIENCE_MS: "300" } });
    const roomId = newRoom();
    const [writer, reader] = [await member(node, roomId, "ada"), await member(node, roomId, "bob")];
    typed(writer.doc, "1");
    await until(() => reader.body() === "1");
    away = true;
    typed(writer.doc, "2");
    const raw = await rawClient(node);
    raw.send({ type: MessageType.JoinRequest, crdt: "%LOR", roomId, auth: text("ada"), version: new Uint8Array([0]) });
    expect(await raw.closed).toMatchObject({ code: 1013 });
    typed(writer.doc, "3");
    const before = refusals;
    await until(() => refusals > before + 2);
    away = false;
    typed(writer.doc, "4");
    await until(() => reader.body() === "1234");
    expect([writer.statuses, reader.statuses].flat()).not.toContain("error");
  });
});
