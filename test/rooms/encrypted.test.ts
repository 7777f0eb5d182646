import { EloAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import {
  decodeEloContainer,
  encodeEloContainer,
  encryptDeltaSpan,
  encryptSnapshot,
  JoinErrorCode,
  MessageType,
} from "loro-protocol";
import { beforeAll, describe, expect, it } from "vitest";
import type { Database } from "../../src/database/types.js";
import { rememberDocument } from "../documents/live/support.js";
import {
  cleanup,
  declareNotes,
  makeSpace,
  officialClient,
  type RawClient,
  randomText,
  rawClient,
  startNode,
  text,
  typed,
  until,
} from "../gateway/support.js";
import { describeBothKinds, postgres, type TestDatabase } from "../support/databases.js";

let rooms = 0;
const newRoom = () => `team/app/diaries/d${++rooms}`;
const recordOf = (roomId: string) => roomId.split("/")[3] ?? "";

async function prepare(database: TestDatabase): Promise<void> {
  await declareNotes(database);
  await database.db.query("select perch.declare_encrypted_table(app_id => 'app', table_name => 'diaries')");
  await makeSpace(database, "team", "ada", { bob: "editor", eve: "viewer" });
}

const key = new Uint8Array(32).fill(7);
const getPrivateKey = async () => ({ keyId: "k1", key });

async function member(node: { url: string }, roomId: string, user: string, doc = new LoroDoc()) {
  const refused: number[] = [];
  const unreadable: string[] = [];
  const crdtAdaptor = new EloAdaptor(doc, {
    getPrivateKey,
    onUpdateError: (_, code) => refused.push(code),
    onDecryptError: (error) => unreadable.push(error.message),
  });
  const client = officialClient(node);
  const room = await client.join({ roomId, crdtAdaptor, auth: text(user) });
  return { client, room, doc, refused, unreadable, body: () => doc.getText("body").toString() };
}

const cut = (client: { socket: unknown }) => (client.socket as { terminate(): void }).terminate();

/** One record of a peer; what is encrypted is never looked at. */
async function span(peer: string, start: number, end: number, content = `${peer}:${start}`): Promise<Uint8Array> {
  return (await encryptDeltaSpan(text(content), { peerId: text(peer), start, end, keyId: "k1" }, key)).record;
}

async function snapshot(vv: Record<string, number>): Promise<Uint8Array> {
  const entries = Object.entries(vv).map(([peer, counter]) => ({ peerId: text(peer), counter }));
  return (await encryptSnapshot(text("everything"), { vv: entries, keyId: "k1" }, key)).record;
}

/** Sends records as one payload. Out: the status of the acknowledgement. */
const send = (client: RawClient, roomId: string, ...records: Uint8Array[]) =>
  client.update(roomId, [encodeEloContainer(records)], "%ELO");

/** What a newcomer who has a version is told, and is given. */
async function newcomer(node: { url: string }, roomId: string, version = Uint8Array.of(0)) {
  const client = await rawClient(node);
  const answer = await client.join(roomId, { token: "bob", crdt: "%ELO", version });
  // A frame of its own is answered after all that was sent to it before.
  await client.update(roomId, [], "%ELO");
  const records = client.inbox.flatMap((message) =>
    message.type === MessageType.DocUpdate ? message.updates.flatMap(decodeEloContainer) : [],
  );
  return { client, answer, records: records.map((record) => Buffer.from(record)) };
}

const buffers = (...records: Uint8Array[]) => records.map((record) => Buffer.from(record));

describeBothKinds("an encrypted room", (open) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await open();
    await prepare(database);
  });

  it("brings official clients together, those who come later too, and no plain text to the database", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const ada = await member(node, roomId, "ada");
    typed(ada.doc, "my secret ");
    const bob = await member(node, roomId, "bob");
    await until(() => bob.body() === "my secret ");
    typed(bob.doc, "and mine");
    await until(() => ada.body() === "my secret and mine");
    const late = await member(node, roomId, "eve");
    await until(() => late.body() === "my secret and mine");
    const stored = await database.db.query<{ payload: Uint8Array }>(
      "select payload from perch.encrypted_records where record_id = $1",
      [recordOf(roomId)],
    );
    expect(stored.length).toBeGreaterThan(1);
    for (const { payload } of stored) expect(Buffer.from(payload).includes("secret")).toBe(false);
    expect(await database.db.query("select from perch.records where record_id = $1", [recordOf(roomId)])).toEqual([]);
    expect([ada, bob, late].flatMap(({ refused, unreadable }) => [...refused, ...unreadable])).toEqual([]);
  });

  it("loses nothing of an official client that is cut off while it types", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [ada, bob] = [await member(node, roomId, "ada"), await member(node, roomId, "bob")];
    for (let n = 0; n < 30; n++) {
      if (n % 10 === 5) cut(ada.client);
      typed(ada.doc, String(n % 10));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const expected = "0123456789".repeat(3);
    await until(() => bob.body() === expected);
    const late = await member(node, roomId, "bob");
    await until(() => late.body() === expected);
  });

  it("takes what is larger than a frame in fragments, and gives it in fragments", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [ada, bob] = [await member(node, roomId, "ada"), await member(node, roomId, "bob")];
    const body = randomText(400_000);
    typed(ada.doc, body);
    await until(() => bob.body() === body);
    const { client } = await newcomer(node, roomId);
    await client.next(MessageType.DocUpdateFragmentHeader);
  });

  it("gives each reader the spans that reach beyond its version, and names that of which nothing is missing", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const ada = await rawClient(node);
    expect(await ada.join(roomId, { token: "ada", crdt: "%ELO", version: new Uint8Array() })).toMatchObject({
      permission: "write",
      version: Uint8Array.of(0),
    });
    const [one, two, gap, other] = [
      await span("1", 0, 5),
      await span("1", 5, 9),
      await span("1", 12, 15),
      await span("2", 0, 1),
    ];
    expect(await send(ada, roomId, one, two)).toBe(0);
    expect(await send(ada, roomId, gap)).toBe(0);
    expect(await send(ada, roomId, other)).toBe(0);
    // Peer 1 up to 9: of what is behind the gap whoever has it sends all again. Peer 2 up to 1.
    const everything = await newcomer(node, roomId);
    expect(everything.answer).toMatchObject({ version: Uint8Array.from([2, 1, 18, 2, 2]) });
    expect(everything.records).toEqual(buffers(one, two, gap, other));
    expect((await newcomer(node, roomId, Uint8Array.from([1, 1, 2 * 5]))).records).toEqual(buffers(two, gap, other));
    expect((await newcomer(node, roomId, Uint8Array.from([1, 1, 2 * 4]))).records).toEqual(
      buffers(one, two, gap, other),
    );
    expect((await newcomer(node, roomId, Uint8Array.from([2, 1, 2 * 15, 2, 2]))).records).toEqual([]);
    const missing = await span("1", 9, 12);
    expect(await send(ada, roomId, missing)).toBe(0);
    expect((await newcomer(node, roomId)).answer).toMatchObject({ version: Uint8Array.from([2, 1, 30, 2, 2]) });
  });

  it("replaces spans by one that covers them, whatever its key, and stores what it has only once", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const ada = await rawClient(node);
    const bob = await rawClient(node);
    for (const [client, token] of [
      [ada, "ada"],
      [bob, "bob"],
    ] as const)
      await client.join(roomId, { token, crdt: "%ELO" });
    const parts = [await span("1", 0, 2), await span("1", 2, 4), await span("1", 4, 6)];
    for (const part of parts) expect(await send(ada, roomId, part)).toBe(0);
    expect(await send(ada, roomId, ...parts)).toBe(0);
    const whole = (await encryptDeltaSpan(text("x"), { peerId: text("1"), start: 0, end: 5, keyId: "k2" }, key)).record;
    expect(await send(ada, roomId, whole)).toBe(0);
    const [, , last = new Uint8Array()] = parts;
    expect((await newcomer(node, roomId)).records).toEqual(buffers(last, whole));
    await until(() => bob.inbox.length === 4);
    expect(ada.inbox).toEqual([]);
  });

  it("keeps a snapshot for as long as it has what no span has", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const ada = await rawClient(node);
    await ada.join(roomId, { token: "ada", crdt: "%ELO" });
    const [first, rest, third] = [await span("1", 0, 5), await span("1", 5, 9), await span("2", 0, 3)];
    const [known, small, large] = [await snapshot({ 1: 5 }), await snapshot({ 1: 9 }), await snapshot({ 1: 9, 2: 3 })];
    for (const record of [first, known, small, large]) expect(await send(ada, roomId, record)).toBe(0);
    const { answer, records } = await newcomer(node, roomId);
    expect(records).toEqual(buffers(first, large));
    // It is the authors who know what is in a snapshot: they are asked for spans.
    expect(answer).toMatchObject({ version: Uint8Array.from([1, 1, 10]) });
    expect((await newcomer(node, roomId, Uint8Array.from([2, 1, 18, 2, 6]))).records).toEqual([]);
    expect(await send(ada, roomId, rest, third)).toBe(0);
    expect((await newcomer(node, roomId)).records).toEqual(buffers(first, rest, third));
  });

  it("keeps so many snapshots of one author beside each other, which each span would be held against", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [ada, bob] = [await rawClient(node), await rawClient(node)];
    await ada.join(roomId, { token: "ada", crdt: "%ELO" });
    await bob.join(roomId, { token: "bob", crdt: "%ELO" });
    for (let n = 1; n <= 16; n++) expect(await send(bob, roomId, await snapshot({ [n]: 5 }))).toBe(0);
    expect(await send(bob, roomId, await snapshot({ 17: 5 }))).toBe(5);
    await bob.join(roomId, { token: "bob", crdt: "%ELO" });
    // One that replaces others, and anybody else's, are taken.
    expect(await send(bob, roomId, await snapshot({ 1: 6, 2: 6 }))).toBe(0);
    expect(await send(ada, roomId, await snapshot({ 17: 5 }))).toBe(0);
    expect((await newcomer(node, roomId)).records).toHaveLength(16);
  });

  it("loses nothing by what a member sends under another's peer, however much that claims to be", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [ada, bob] = [await rawClient(node), await rawClient(node)];
    await ada.join(roomId, { token: "ada", crdt: "%ELO" });
    await bob.join(roomId, { token: "bob", crdt: "%ELO" });
    const [one, two, three] = [await span("1", 0, 5), await span("1", 5, 9), await span("1", 9, 12)];
    const mine = await snapshot({ 1: 9, 2: 3 });
    expect(await send(ada, roomId, one, two, mine)).toBe(0);
    const [all, some, further] = [await span("1", 0, 2 ** 31 - 1), await span("1", 0, 9), await span("1", 9, 5_000)];
    const theirs = await snapshot({ 1: 2 ** 30, 2: 2 ** 30 });
    expect(await send(bob, roomId, all)).toBe(4);
    await bob.join(roomId, { token: "bob", crdt: "%ELO" });
    for (const record of [some, further, theirs]) expect(await send(bob, roomId, record)).toBe(0);
    const { answer, records } = await newcomer(node, roomId);
    expect(records).toEqual(buffers(one, two, mine, some, further, theirs));
    // What the peer's owner is told it has: they go on sending.
    expect(answer).toMatchObject({ version: Uint8Array.from([1, 1, 2 * 9]) });
    expect(await send(ada, roomId, three)).toBe(0);
    expect((await newcomer(node, roomId)).answer).toMatchObject({ version: Uint8Array.from([1, 1, 2 * 12]) });
    // Each replaces what is theirs.
    const again = [await span("1", 0, 12), await span("1", 0, 5_000)] as const;
    expect(await send(ada, roomId, again[0])).toBe(0);
    expect(await send(bob, roomId, again[1])).toBe(0);
    expect((await newcomer(node, roomId)).records).toEqual(buffers(mine, theirs, ...again));
  });

  it("keeps a snapshot whose peers somebody else is the first to send spans of", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [ada, bob] = [await rawClient(node), await rawClient(node)];
    await ada.join(roomId, { token: "ada", crdt: "%ELO" });
    await bob.join(roomId, { token: "bob", crdt: "%ELO" });
    const mine = await snapshot({ 1: 9, 2: 3 });
    expect(await send(ada, roomId, mine)).toBe(0);
    const [one, two] = [await span("1", 0, 9, "junk"), await span("2", 0, 3, "junk")];
    expect(await send(bob, roomId, one, two)).toBe(0);
    const { answer, records } = await newcomer(node, roomId);
    expect(records).toEqual(buffers(mine, one, two));
    // Whoever has them is asked for them.
    expect(answer).toMatchObject({ version: Uint8Array.of(0) });
    const own = [await span("1", 0, 9), await span("2", 0, 3)] as const;
    expect(await send(ada, roomId, ...own)).toBe(0);
    expect((await newcomer(node, roomId)).records).toEqual(buffers(one, two, ...own));
  });

  it("takes no record that another document of the space has: its key would open it there as well", async () => {
    const node = await startNode(database);
    const [roomId, other] = [newRoom(), newRoom()];
    const record = await span("1", 0, 5);
    const [ada, bob] = [await rawClient(node), await rawClient(node)];
    await ada.join(roomId, { token: "ada", crdt: "%ELO" });
    await bob.join(other, { token: "bob", crdt: "%ELO" });
    expect(await send(ada, roomId, record)).toBe(0);
    expect(await send(bob, other, record)).toBe(4);
    expect((await newcomer(node, other)).records).toEqual([]);
    expect(await send(ada, roomId, record)).toBe(0);
  });

  it("takes spans of so many peers as whoever joins can be told of in one frame", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const client = await rawClient(node);
    await client.join(roomId, { token: "ada", crdt: "%ELO" });
    expect(await send(client, roomId, await span("1", 0, 5))).toBe(0);
    // As if others had come before. Of a counter, too, the longest.
    await database.db.query(
      `insert into perch.encrypted_reaches (space_id, app_id, table_name, record_id, peer_id, reach, user_id)
       select 'team', 'app', 'diaries', $1, convert_to((18446744073709551615 - n)::text, 'utf8'), 2147483647, 'bob'
         from generate_series(1, 16382) n`,
      [recordOf(roomId)],
    );
    expect(await send(client, roomId, await span("2", 0, 5))).toBe(0);
    expect(await send(client, roomId, await span("3", 0, 5))).toBe(5);
    await client.join(roomId, { token: "ada", crdt: "%ELO" });
    expect(await send(client, roomId, await span("1", 5, 9), await span("2", 5, 9))).toBe(0);
    const { answer, client: late } = await newcomer(node, roomId);
    expect(answer).toMatchObject({ type: MessageType.JoinResponseOk });
    expect((answer as { version: Uint8Array }).version.length).toBeGreaterThan(200_000);
    expect(late.largestFrame()).toBeLessThanOrEqual(262_144);
  });

  it("takes thousands of spans that overlap in transactions that are bounded", async () => {
    const calls: number[] = [];
    const counting: Database = {
      ...database.db,
      query: (sql, params) => {
        if (sql.includes("append_encrypted")) calls.push((params as unknown[][])[5]?.length ?? 0);
        return database.db.query(sql, params);
      },
    };
    const node = await startNode(database, { db: counting });
    const roomId = newRoom();
    const client = await rawClient(node);
    await client.join(roomId, { token: "ada", crdt: "%ELO" });
    const many = await Promise.all(Array.from({ length: 1_000 }, (_, n) => span("9", n, n + 2_000, "")));
    expect(await send(client, roomId, ...many)).toBe(0);
    expect(Math.max(...calls)).toBeLessThanOrEqual(256);
    expect((await newcomer(node, roomId)).records).toHaveLength(1_000);
  });

  it("refuses what is no encrypted record with 04, from viewers with 03, and shows none of it", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const good = await span("1", 0, 1);
    const [bad, ada, eve] = [await rawClient(node), await rawClient(node), await rawClient(node)];
    await bad.join(roomId, { token: "bob", crdt: "%ELO" });
    await ada.join(roomId, { token: "ada", crdt: "%ELO" });
    expect(await eve.join(roomId, { token: "eve", crdt: "%ELO" })).toMatchObject({ permission: "read" });
    expect(await bad.update(roomId, [encodeEloContainer([good, text("no record")])], "%ELO")).toBe(4);
    expect(await bad.next(MessageType.RoomError)).toMatchObject({ code: 1 });
    expect(await send(eve, roomId, good)).toBe(3);
    expect(await ada.update(roomId, [], "%ELO")).toBe(0);
    expect(ada.inbox).toEqual([]);
    expect((await newcomer(node, roomId)).records).toEqual([]);
  });

  it("has room for so many bytes, and for more once records are replaced", async () => {
    const limited: Database = {
      ...database.db,
      query: <Row>(sql: string, params?: readonly unknown[]) =>
        database.db.transaction(async (tx) => {
          await tx.query("select set_config('perch.max_encrypted_bytes', '1000', true)");
          return tx.query<Row>(sql, params);
        }),
    };
    const node = await startNode(database, { db: limited });
    const roomId = newRoom();
    for (const [start, end, bytes, status] of [
      [0, 1, 400, 0],
      [1, 2, 400, 0],
      [2, 3, 400, 5],
      [0, 2, 500, 0],
      [2, 3, 400, 0],
    ] as const) {
      const client = await rawClient(node);
      await client.join(roomId, { token: "ada", crdt: "%ELO" });
      expect([start, end, await send(client, roomId, await span("1", start, end, "x".repeat(bytes)))]).toEqual([
        start,
        end,
        status,
      ]);
    }
    const client = await rawClient(node);
    await client.join(roomId, { token: "ada", crdt: "%ELO" });
    const many = await Promise.all(Array.from({ length: 4_097 }, (_, n) => span("9", n, n + 1, "")));
    expect(await send(client, roomId, ...many)).toBe(5);
  });

  it("is only for tables declared so, as their documents are only for it", async () => {
    const node = await startNode(database);
    const client = await rawClient(node);
    for (const [roomId, crdt] of [
      ["team/app/notes/n1", "%ELO"],
      ["team/app/diaries/n1", "%LOR"],
    ] as const) {
      expect(await client.join(roomId, { token: "ada", crdt })).toMatchObject({
        type: MessageType.JoinError,
        code: JoinErrorCode.AppError,
        appCode: "not_found",
      });
    }
    expect(await client.join("team/app/diaries/n1", { token: "mallory", crdt: "%ELO" })).toMatchObject({ code: 2 });
    const wrong = { token: "ada", crdt: "%ELO", version: text("no version") } as const;
    expect(await client.join("team/app/diaries/n1", wrong)).toMatchObject({
      code: JoinErrorCode.VersionUnknown,
      receiverVersion: Uint8Array.of(0),
    });
    const declare = (sql: string) => database.db.query(`select perch.${sql}`);
    await expect(declare("declare_encrypted_table(app_id => 'app', table_name => 'notes')")).rejects.toMatchObject({
      code: "PE422",
    });
    await expect(
      declare(`declare_table(app_id => 'app', table_name => 'diaries', fields => '{"body": "text"}')`),
    ).rejects.toMatchObject({ code: "PE422" });
    await declare("declare_encrypted_table(app_id => 'app', table_name => 'diaries')");
  });

  it("is over when its document is deleted: members are evicted, and what it had is refused afterwards", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [ada, bob] = [await rawClient(node), await rawClient(node)];
    await ada.join(roomId, { token: "ada", crdt: "%ELO" });
    await bob.join(roomId, { token: "bob", crdt: "%ELO" });
    expect(await send(ada, roomId, await span("1", 0, 5), await snapshot({ 3: 4 }))).toBe(0);
    const deleteAs = (user: string, room = roomId) =>
      database.asUser(user, (tx) =>
        tx.query(
          "select perch.delete_document(app_id => 'app', table_name => 'diaries', record_id => $1, space_id => 'team')",
          [recordOf(room)],
        ),
      );
    // An editor may delete what they alone wrote; what others have a word in only an owner may.
    const own = newRoom();
    await bob.join(own, { token: "bob", crdt: "%ELO" });
    expect(await send(bob, own, await span("1", 0, 5))).toBe(0);
    await deleteAs("bob", own);
    expect(await bob.next(MessageType.RoomError)).toMatchObject({ code: 1, roomId: own });
    expect(await bob.join(own, { token: "bob", crdt: "%ELO" })).toMatchObject({ code: JoinErrorCode.AuthFailed });
    expect(await send(bob, roomId, await span("2", 0, 1))).toBe(0);
    await expect(deleteAs("bob")).rejects.toMatchObject({ code: "PE403" });
    await deleteAs("ada");
    for (const client of [ada, bob]) expect(await client.next(MessageType.RoomError)).toMatchObject({ code: 1 });
    expect((await newcomer(node, roomId)).records).toEqual([]);
    for (const [record, status] of [
      [await span("1", 4, 9), 4],
      [await snapshot({ 3: 9 }), 4],
      [await span("4", 0, 1), 0],
    ] as const) {
      const client = await rawClient(node);
      await client.join(roomId, { token: "ada", crdt: "%ELO" });
      expect(await send(client, roomId, record)).toBe(status);
    }
    expect((await newcomer(node, roomId)).records).toHaveLength(1);
  });

  it("takes no more from a writer who became a viewer, at once", async () => {
    const node = await startNode(database, { env: { PERCH_RECHECK_MS: "60000" } });
    const roomId = newRoom();
    const bob = await rawClient(node);
    await bob.join(roomId, { token: "bob", crdt: "%ELO" });
    const setRole = (role: string) =>
      database.asUser("ada", (tx) =>
        tx.query("select perch.set_space_member(space_id => 'team', user_id => 'bob', role => $1)", [role]),
      );
    await setRole("viewer");
    expect(await send(bob, roomId, await span("1", 0, 1))).toBe(3);
    // Which also has everybody's access checked again.
    expect(await bob.next(MessageType.RoomError)).toMatchObject({ code: 1 });
    await setRole("editor");
  });
});

describe("an encrypted room on two nodes", () => {
  const open = postgres();
  let database: TestDatabase;
  beforeAll(async () => {
    database = await open();
    await prepare(database);
  });
  const silently = (db: Database): Database => ({ ...db, listen: async () => ({ close: async () => undefined }) });

  it("passes on what either takes, in both directions, while both write", async () => {
    const [one, two] = [await startNode(database), await startNode(database)];
    const roomId = newRoom();
    const [ada, bob] = [await member(one, roomId, "ada"), await member(two, roomId, "bob")];
    for (let n = 0; n < 20; n++) {
      typed(ada.doc, "a");
      typed(bob.doc, "b");
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    await until(() => ada.body().length === 40 && ada.body() === bob.body());
    expect([...ada.refused, ...bob.refused]).toEqual([]);
  });

  it("passes it on although no notification arrives, and evicts everywhere when the document is deleted", async () => {
    const [one, two] = [
      await startNode(database, { db: silently(database.db) }),
      await startNode(database, { db: silently(database.db) }),
    ];
    const roomId = newRoom();
    const [ada, bob] = [await rawClient(one), await rawClient(two)];
    await ada.join(roomId, { token: "ada", crdt: "%ELO" });
    await bob.join(roomId, { token: "bob", crdt: "%ELO" });
    const record = await span("1", 0, 1);
    expect(await send(ada, roomId, record)).toBe(0);
    expect((await bob.next(MessageType.DocUpdate)).updates.flatMap(decodeEloContainer)).toEqual([record]);
    await database.asUser("ada", (tx) =>
      tx.query(
        "select perch.delete_document(app_id => 'app', table_name => 'diaries', record_id => $1, space_id => 'team')",
        [recordOf(roomId)],
      ),
    );
    for (const client of [ada, bob]) {
      expect(await client.next(MessageType.RoomError)).toMatchObject({ code: 1 });
    }
  });

  it("answers a failed append with 01, has the client join again, and loses nothing", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [ada, bob] = [await member(node, roomId, "ada"), await member(node, roomId, "bob")];
    typed(ada.doc, "before ");
    await until(() => bob.body() === "before ");
    await database.db.query(`create or replace function perch.broken() returns trigger language plpgsql as
      $$ begin raise exception 'out of order' using errcode = 'P0001'; end $$`);
    await database.db.query(
      "create trigger broken before insert on perch.encrypted_records for each row execute function perch.broken()",
    );
    const repair = () => database.db.query("drop trigger if exists broken on perch.encrypted_records");
    cleanup(repair);
    typed(ada.doc, "while it fails ");
    await until(() => ada.refused.length > 0);
    expect(new Set(ada.refused)).toEqual(new Set([1]));
    await repair();
    typed(ada.doc, "after");
    await until(() => bob.body() === "before while it fails after");
  });

  for (const { others, notice } of [
    { others: "x", notice: "a look" },
    { others: "xy", notice: "a write" },
    { others: "xyz", notice: "a ring" },
  ])
    it(`notices by ${notice} that the database went back and gave ${others.length} positions to others, and loses nothing`, async () => {
      const [one, two] = [await startNode(database), await startNode(database)];
      const roomId = newRoom();
      const ada = await member(one, roomId, "ada");
      const stored = async (count: number) =>
        (await database.db.query("select from perch.encrypted_records where record_id = $1", [recordOf(roomId)]))
          .length >= count;
      typed(ada.doc, "a");
      await until(() => stored(1));
      const goBack = await rememberDocument(database.db, { recordId: recordOf(roomId) });
      for (const [n, letter] of [..."bc"].entries()) {
        typed(ada.doc, letter);
        await until(() => stored(n + 2));
      }
      await goBack();
      const bob = await member(two, roomId, "bob");
      await until(() => bob.body() === "a");
      for (const [n, letter] of [...others].entries()) {
        typed(bob.doc, letter);
        await until(() => stored(n + 2));
      }
      const own = notice === "a write" ? "abcd" : "abc";
      if (notice === "a write") typed(ada.doc, "d");
      const all = [...own, ...others].sort().join("");
      const complete = (body: string) => [...body].sort().join("") === all;
      await until(() => complete(ada.body()) && ada.body() === bob.body());
      const late = await member(two, roomId, "eve");
      await until(() => late.body() === ada.body());
    });

  it("gives readers what another node stored in the midst of a submission that is several transactions", async () => {
    const two = await startNode(database);
    const roomId = newRoom();
    const other = await rawClient(two);
    await other.join(roomId, { token: "bob", crdt: "%ELO" });
    const theirs = await span("77", 0, 1);
    let transactions = 0;
    const interrupted: Database = {
      ...database.db,
      async query(sql, params) {
        if (sql.includes("append_encrypted") && ++transactions === 2) await send(other, roomId, theirs);
        return database.db.query(sql, params);
      },
    };
    const node = await startNode(database, { db: interrupted });
    const [ada, reader] = [await rawClient(node), await rawClient(node)];
    await ada.join(roomId, { token: "ada", crdt: "%ELO" });
    await reader.join(roomId, { token: "bob", crdt: "%ELO" });
    const many = await Promise.all(Array.from({ length: 300 }, (_, n) => span("9", n, n + 2_000, "")));
    expect(await send(ada, roomId, ...many)).toBe(0);
    const given = () =>
      reader.inbox.flatMap((message) =>
        message.type === MessageType.DocUpdate ? message.updates.flatMap(decodeEloContainer) : [],
      );
    await until(() => given().length >= 301);
    expect(given().filter((record) => Buffer.from(record).equals(Buffer.from(theirs)))).toHaveLength(1);
  });
});
