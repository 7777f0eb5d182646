import fc from "fast-check";
import { LoroDoc } from "loro-crdt";
import { encode, JoinErrorCode, MessageType, type ProtocolMessage } from "loro-protocol";
import { beforeAll, describe, expect, it } from "vitest";
import {
  declareNotes,
  newBatchId,
  type RawClient,
  rawClient,
  startNode,
  text,
  typed,
  until,
} from "../gateway/support.js";
import { pglite, postgres, type TestDatabase } from "../support/databases.js";
import { lockWaiters } from "../support/locks.js";

let rooms = 0;
const newRoom = () => `/app/notes/r${++rooms}`;
const loro = "%LOR";

async function joined(client: RawClient, roomId = newRoom()): Promise<string> {
  expect(await client.join(roomId, { token: "ada" })).toMatchObject({ permission: "write" });
  return roomId;
}

const acks = (client: RawClient) =>
  client.inbox.flatMap((message) => (message.type === MessageType.Ack ? [[message.refId, message.status]] : []));

const join = (roomId: string, version = new Uint8Array([0])): ProtocolMessage => ({
  type: MessageType.JoinRequest,
  crdt: loro,
  roomId,
  auth: text("ada"),
  version,
});

describe("one socket", () => {
  const open = pglite();
  let database: TestDatabase;
  beforeAll(async () => {
    database = await open();
    await declareNotes(database);
  });

  it("is answered pong to ping, and nothing to other text", async () => {
    const client = await rawClient(await startNode(database));
    for (const message of ["pong", "hello", "ping", "pinging", "ping"]) client.sendRaw(message);
    await until(() => client.texts.length === 2);
    expect(client.texts).toEqual(["pong", "pong"]);
  });

  it("is told which types of room are not served", async () => {
    const client = await rawClient(await startNode(database));
    for (const crdt of ["%YJS", "%YAW", "%FLO"] as const) {
      expect(await client.join(newRoom(), { token: "ada", crdt })).toMatchObject({
        crdt,
        type: MessageType.JoinError,
        code: JoinErrorCode.AppError,
        appCode: "unsupported",
      });
    }
    expect(await client.update("/app/notes/yjs", [text("x")], "%YJS")).toBe(3);
    await joined(client);
  });

  it("updates after leaving are refused with 03, and the socket stays", async () => {
    const client = await rawClient(await startNode(database));
    const roomId = await joined(client);
    const doc = new LoroDoc();
    expect(await client.update(roomId, [typed(doc, "a")])).toBe(0);
    client.send({ type: MessageType.Leave, crdt: loro, roomId });
    expect(await client.update(roomId, [typed(doc, "b")])).toBe(3);
    expect(await client.update("/app/notes/never-joined", [typed(doc, "c")])).toBe(3);
    await joined(client, roomId);
    expect(await client.update(roomId, [doc.export({ mode: "update" })])).toBe(0);
  });

  it("what comes between a join and its answer is handled after it, in order", async () => {
    const node = await startNode(database);
    const client = await rawClient(node);
    const roomId = newRoom();
    const doc = new LoroDoc();
    const [one, two, three] = [newBatchId(), newBatchId(), newBatchId()];
    client.send(join(roomId));
    client.send({ type: MessageType.DocUpdate, crdt: loro, roomId, updates: [typed(doc, "a")], batchId: one });
    client.send({ type: MessageType.DocUpdate, crdt: loro, roomId, updates: [typed(doc, "b")], batchId: two });
    client.send({ type: MessageType.Leave, crdt: loro, roomId });
    client.send({ type: MessageType.DocUpdate, crdt: loro, roomId, updates: [typed(doc, "c")], batchId: three });
    client.send(join(roomId));
    await until(() => client.inbox.length === 6);
    expect(client.inbox.filter(({ type }) => type === MessageType.JoinResponseOk)).toHaveLength(2);
    expect(Object.fromEntries(acks(client))).toEqual({ [one]: 0, [two]: 0, [three]: 3 });
    const backfill = client.inbox.find((message) => message.type === MessageType.DocUpdate);
    const copy = new LoroDoc();
    if (backfill?.type === MessageType.DocUpdate) copy.importBatch(backfill.updates);
    expect(copy.getText("body").toString()).toBe("ab");
  });

  it("updates that follow a join which is refused get 03", async () => {
    const client = await rawClient(await startNode(database));
    const batchId = newBatchId();
    const roomId = "~bob/app/notes/secret";
    client.send(join(roomId));
    client.send({ type: MessageType.DocUpdate, crdt: loro, roomId, updates: [typed(new LoroDoc(), "a")], batchId });
    await until(() => client.inbox.length === 2);
    expect(client.inbox.map(({ type }) => type)).toEqual([MessageType.JoinError, MessageType.Ack]);
    expect(acks(client)).toEqual([[batchId, 3]]);
  });

  it("a hundred batches sent at once are acknowledged in their order", async () => {
    const client = await rawClient(await startNode(database));
    const roomId = await joined(client);
    const doc = new LoroDoc();
    const sent = Array.from({ length: 100 }, () => {
      const batchId = newBatchId();
      client.send({ type: MessageType.DocUpdate, crdt: loro, roomId, updates: [typed(doc, "x")], batchId });
      return [batchId, 0];
    });
    await until(() => acks(client).length === 100);
    expect(acks(client)).toEqual(sent);
  });

  it("joins the same room again without leaving, and gets each update once", async () => {
    const node = await startNode(database);
    const [client, writer] = [await rawClient(node), await rawClient(node)];
    const roomId = await joined(client);
    for (let n = 0; n < 3; n++) await joined(client, roomId);
    await joined(writer, roomId);
    expect(await writer.update(roomId, [typed(new LoroDoc(), "a")])).toBe(0);
    await client.next(MessageType.DocUpdate);
    await until(async () => (await client.update(roomId, [])) === 0);
    expect(client.inbox).toEqual([]);
  });

  it("gets exactly one Ack for every batch, whatever becomes of it", async () => {
    const client = await rawClient(await startNode(database, { env: { PERCH_MAX_UPDATE_BYTES: "5000" } }));
    const roomId = await joined(client);
    const doc = new LoroDoc();
    const good = typed(doc, "good");
    expect(await client.update(roomId, [good])).toBe(0);
    expect(await client.update(roomId, [good])).toBe(0);
    expect(await client.update(roomId, [])).toBe(0);
    expect(await client.update(roomId, [new Uint8Array(6_000)])).toBe(5);
    await client.next(MessageType.RoomError);
    await joined(client, roomId);
    expect(await client.update(roomId, [text("garbage")])).toBe(4);
    await client.next(MessageType.RoomError);
    expect(acks(client)).toEqual([]);
  });

  it("is answered 05 for a frame over the limit, and stays open", async () => {
    const client = await rawClient(await startNode(database));
    const roomId = await joined(client);
    const small = encode({
      type: MessageType.DocUpdate,
      crdt: loro,
      roomId,
      updates: [new Uint8Array(200_000)],
      batchId: "0x00000000000000ff",
    });
    // The official encoder writes no frame this large: the update is given another 200,000 bytes by hand.
    const head = 4 + 1 + roomId.length;
    const frame = Buffer.concat([
      small.subarray(0, head),
      Buffer.from([MessageType.DocUpdate, 1, 0x80, 0xb5, 0x18]),
      Buffer.alloc(400_000),
      small.subarray(-8),
    ]);
    client.sendRaw(frame);
    expect(await client.next(MessageType.Ack)).toMatchObject({ refId: "0x00000000000000ff", status: 5 });
    await joined(client);
  });

  it("is closed with a code to reconnect on for a frame far over the limit", async () => {
    const client = await rawClient(await startNode(database));
    client.sendRaw(new Uint8Array(2_000_000));
    expect(await client.closed).toMatchObject({ code: 1009 });
  });

  it("that sends nonsense is closed, and no other one is disturbed", async () => {
    const node = await startNode(database);
    const honest = await rawClient(node);
    const roomId = await joined(honest);
    const doc = new LoroDoc();
    const hostile = fc.sample(fc.uint8Array({ minLength: 1, maxLength: 300 }), 40);
    for (const data of hostile) {
      const client = await rawClient(node);
      client.sendRaw(data);
      expect(await honest.update(roomId, [typed(doc, ".")])).toBe(0);
    }
    const valid = Buffer.from(
      encode({
        type: MessageType.DocUpdate,
        crdt: loro,
        roomId,
        updates: [typed(new LoroDoc(), "x")],
        batchId: newBatchId(),
      }),
    );
    const mutants = fc.sample(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), 60);
    const client = await rawClient(node);
    await joined(client, roomId);
    for (const [at, byte] of mutants) {
      const mutant = Buffer.from(valid);
      mutant[at] = byte;
      client.sendRaw(mutant);
    }
    for (let n = 0; n < 20; n++) expect(await honest.update(roomId, [typed(doc, "!")])).toBe(0);
  });

  it("may hold only so many rooms", async () => {
    const client = await rawClient(await startNode(database, { env: { PERCH_MAX_ROOMS_PER_SOCKET: "2" } }));
    const first = await joined(client);
    await joined(client);
    expect(await client.join(newRoom(), { token: "ada" })).toMatchObject({ appCode: "too_many_rooms" });
    await joined(client, first);
    client.send({ type: MessageType.Leave, crdt: loro, roomId: first });
    await joined(client);
  });

  it("has one room of a document, however its id is spelled, and answers in the spelling that it last joined by", async () => {
    const client = await rawClient(await startNode(database, { env: { PERCH_MAX_ROOMS_PER_SOCKET: "1" } }));
    const spellings = ["/app/notes/a%2fb n%25", "/%61pp/notes/a%2Fb%20n%25", "/app/%6e%6F%74es/%61%2f%62 n%25"];
    const doc = new LoroDoc();
    for (const [nth, spelling] of spellings.entries()) {
      await joined(client, spelling);
      if (nth > 0)
        expect(await client.next(MessageType.RoomError)).toMatchObject({ code: 2, roomId: spellings[nth - 1] });
      expect(await client.update(spelling, [typed(doc, "x")])).toBe(0);
    }
    // What would be another document without its escapes is one.
    expect(await client.join("/app/notes/a%252fb n%25", { token: "ada" })).toMatchObject({ appCode: "too_many_rooms" });
    const [row] = await database.asUser("ada", (tx) =>
      tx.query<{ ids: string[] }>("select array_agg(record_id) as ids from perch.documents where record_id like 'a%'"),
    );
    expect(row?.ids).toEqual(["a/b n%"]);
  });

  it("has one room of a document in the personal space, whether that is named or not", async () => {
    const client = await rawClient(await startNode(database));
    const [unnamed, named] = ["/app/notes/names", "~ada/app/notes/names"];
    const doc = new LoroDoc();
    await joined(client, unnamed);
    await joined(client, named);
    expect(await client.next(MessageType.RoomError)).toMatchObject({ code: 2, roomId: unnamed });
    expect(await client.update(unnamed, [typed(doc, "x")])).toBe(3);
    await joined(client, unnamed);
    expect(await client.next(MessageType.RoomError)).toMatchObject({ code: 2, roomId: named });
    expect(await client.update(unnamed, [doc.export({ mode: "update" })])).toBe(0);
    // Joined at once, only the last is left.
    for (const room of [named, unnamed]) {
      client.send({
        type: MessageType.JoinRequest,
        crdt: loro,
        roomId: room,
        auth: new TextEncoder().encode("ada"),
        version: new Uint8Array([0]),
      });
    }
    expect(await client.next(MessageType.RoomError)).toMatchObject({ code: 2, roomId: named });
    expect(await client.update(unnamed, [typed(doc, "y")])).toBe(0);
  });

  it("a fragmented batch is put together and acknowledged once; a stalled one gets 07", async () => {
    const node = await startNode(database, { env: { PERCH_FRAGMENT_TIMEOUT_MS: "200" } });
    const [client, reader] = [await rawClient(node), await rawClient(node)];
    const roomId = await joined(client);
    await joined(reader, roomId);
    const doc = new LoroDoc();
    const update = typed(doc, "in pieces");
    const send = (batchId: `0x${string}`, indexes: number[]) => {
      const totalSizeBytes = update.length;
      client.send({
        type: MessageType.DocUpdateFragmentHeader,
        crdt: loro,
        roomId,
        batchId,
        fragmentCount: 4,
        totalSizeBytes,
      });
      const size = Math.ceil(update.length / 4);
      for (const index of indexes) {
        const fragment = update.subarray(index * size, (index + 1) * size);
        client.send({ type: MessageType.DocUpdateFragment, crdt: loro, roomId, batchId, index, fragment });
      }
    };
    const [whole, stalled] = [newBatchId(), newBatchId()];
    send(whole, [3, 0, 1, 2]);
    expect(await client.next(MessageType.Ack)).toMatchObject({ refId: whole, status: 0 });
    expect((await reader.next(MessageType.DocUpdate)).updates).toEqual([update]);
    send(stalled, [0, 1]);
    expect(await client.next(MessageType.Ack)).toMatchObject({ refId: stalled, status: 7 });
    await client.next(MessageType.RoomError);
    expect(acks(client)).toEqual([]);
  });

  it("a header that claims four gigabytes is refused at once", async () => {
    const client = await rawClient(await startNode(database));
    const roomId = await joined(client);
    const header = { type: MessageType.DocUpdateFragmentHeader, crdt: loro, roomId, batchId: newBatchId() } as const;
    client.send({ ...header, fragmentCount: 0xffff_ffff, totalSizeBytes: 0xffff_ffff });
    expect(await client.next(MessageType.Ack)).toMatchObject({ status: 5 });
  });

  it("may send a batch in so many fragments, and have so many batches incomplete, and is told which it was", async () => {
    const node = await startNode(database, {
      env: { PERCH_MAX_FRAGMENTS: "2", PERCH_MAX_INCOMPLETE_BATCHES: "1", PERCH_MAX_UPDATE_BYTES: "1000" },
    });
    for (const [headers, status] of [
      [[[3, 10]], 5],
      [[[1, 1_001]], 5],
      [
        [
          [2, 10],
          [2, 10],
        ],
        6,
      ],
    ] as const) {
      const client = await rawClient(node);
      const roomId = await joined(client);
      for (const [fragmentCount, totalSizeBytes] of headers) {
        const batchId = newBatchId();
        const header = { type: MessageType.DocUpdateFragmentHeader, crdt: loro, roomId, batchId } as const;
        client.send({ ...header, fragmentCount, totalSizeBytes });
      }
      expect(await client.next(MessageType.Ack)).toMatchObject({ status });
    }
  });

  it("is answered once for a fragmented batch of a room it is not in", async () => {
    const client = await rawClient(await startNode(database));
    const roomId = newRoom();
    const batchId = newBatchId();
    client.send({
      type: MessageType.DocUpdateFragmentHeader,
      crdt: loro,
      roomId,
      batchId,
      fragmentCount: 2,
      totalSizeBytes: 4,
    });
    for (const index of [0, 1]) {
      client.send({ type: MessageType.DocUpdateFragment, crdt: loro, roomId, batchId, index, fragment: text("ab") });
    }
    await joined(client);
    expect(acks(client)).toEqual([[batchId, 3]]);
  });

  it("that cannot apply what it was sent is told to join again", async () => {
    const client = await rawClient(await startNode(database));
    const roomId = await joined(client);
    client.send({ type: MessageType.Ack, crdt: loro, roomId, refId: newBatchId(), status: 7 });
    expect(await client.next(MessageType.RoomError)).toMatchObject({ code: 1 });
  });
});

describe("commits", () => {
  const open = postgres();
  let database: TestDatabase;
  beforeAll(async () => {
    database = await open();
    await declareNotes(database);
  });

  /** Holds the row of a document as somebody's long transaction would. */
  async function locked(recordId: string, work: () => Promise<void>): Promise<void> {
    const other = await database.connect();
    await other.transaction(async (tx) => {
      const rows = await tx.query("select from perch.documents where record_id = $1 for update", [recordId]);
      expect(rows).toHaveLength(1);
      await work();
    });
  }

  it("nothing is acknowledged or sent on before it is committed", async () => {
    const node = await startNode(database);
    const [writer, reader] = [await rawClient(node), await rawClient(node)];
    const [roomId, elsewhere] = [await joined(writer), await joined(writer)];
    for (const id of [roomId, elsewhere]) await joined(reader, id);
    const doc = new LoroDoc();
    expect(await writer.update(roomId, [typed(doc, "a")])).toBe(0);
    await reader.next(MessageType.DocUpdate);
    let answer: Promise<number> | undefined;
    await locked(roomId.split("/")[3] ?? "", async () => {
      answer = writer.update(roomId, [typed(doc, "b")]);
      await lockWaiters(database.db);
      // What was sent later, to another room, is acknowledged and has been sent on.
      expect(await writer.update(elsewhere, [typed(new LoroDoc(), "c")])).toBe(0);
      expect(await reader.next(MessageType.DocUpdate)).toMatchObject({ roomId: elsewhere });
      expect([writer.inbox, reader.inbox]).toEqual([[], []]);
    });
    expect(await answer).toBe(0);
    await reader.next(MessageType.DocUpdate);
  });

  it("of one document do not keep another one waiting", async () => {
    const node = await startNode(database);
    const client = await rawClient(node);
    const [slow, fast] = [await joined(client), await joined(client)];
    const [one, two] = [new LoroDoc(), new LoroDoc()];
    expect(await client.update(slow, [typed(one, "a")])).toBe(0);
    expect(await client.update(fast, [typed(two, "a")])).toBe(0);
    let answer: Promise<number> | undefined;
    await locked(slow.split("/")[3] ?? "", async () => {
      let answered = false;
      answer = client.update(slow, [typed(one, "b")]).finally(() => {
        answered = true;
      });
      for (const letter of "bcd") expect(await client.update(fast, [typed(two, letter)])).toBe(0);
      expect(answered).toBe(false);
    });
    expect(await answer).toBe(0);
  });
});
