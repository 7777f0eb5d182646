import { randomBytes } from "node:crypto";
import { EphemeralStore, LoroDoc } from "loro-crdt";
import { MessageType } from "loro-protocol";
import pg from "pg";
import { WebSocket } from "ws";
import type { Target } from "./target.js";

/** One way to make others pay, done again and again until it is told to stop. */
export interface Attack {
  readonly name: string;
  /** Between two times. */
  readonly everyMs: number;
  /** Whether the attacker has a megabyte of rows in a synced table. */
  readonly hasRows?: boolean;
  run(target: Target): Promise<unknown>;
}

const app = "faults";
const team = "team";
const change = (id: string, data: string, more = "") =>
  `{"op":"update","table":"t","id":"${id}","data":${data}${more}}`;
const pushOf = (changes: string[], client = "mallory") =>
  `{"app_id":"${app}","client_id":"${client}","changes":[${changes.join()}]}`;

let lastBatch = 0;
const batch = (roomId: string, updates: Uint8Array[], crdt: "%LOR" | "%EPH" | "%EPS" = "%LOR") => {
  lastBatch += 1;
  const batchId = `0x${lastBatch.toString(16).padStart(16, "0")}` as const;
  return { type: MessageType.DocUpdate, crdt, roomId, updates, batchId } as const;
};

const closed = (socket: WebSocket) => socket.readyState !== WebSocket.OPEN;

/** A document of some megabytes that others cannot be told from. */
function largeUpdates(count: number, bytes: number): Uint8Array[] {
  const doc = new LoroDoc();
  return Array.from({ length: count }, () => {
    const from = doc.version();
    doc.getMap("fields").set("title", randomBytes(bytes / 2).toString("hex"));
    doc.commit();
    return doc.export({ mode: "update", from });
  });
}

function updateOf(edit: (doc: LoroDoc) => void): Uint8Array {
  const doc = new LoroDoc();
  edit(doc);
  doc.commit();
  return doc.export({ mode: "update" });
}

/** Made once: attackers have better to do. */
function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

const bodies = {
  numbers: once(() => {
    const numbers = `{${Array.from({ length: 7 }, (_, n) => `"f${n}":1e131071`).join()}}`;
    return {
      own: pushOf(Array.from({ length: 300 }, () => change("bomb", numbers))),
      shared: pushOf([change("bomb", numbers, `,"space_id":"${team}"`)]),
    };
  }),
  zeros: once(() => `{"app_id":"${app}","tables":[${"0,".repeat(4_190_000)}0]}`),
  names: once(() => `{${Array.from({ length: 500_000 }, (_, n) => `"k${n}":0`).join()}}`),
  brackets: once(() => `{"changes":${"[".repeat(4_000_000)}`),
  parameters: once(() => Array.from({ length: 15_000 }, (_, n) => `${n.toString(36)}=`).join("&")),
  long: once(() => `{"t":"${"x".repeat(900_000)}"}`),
  wide: once(() => updateOf((doc) => doc.getMap("marks").set("j", Array(20_000).fill(1e300)))),
  deep: once(() => {
    let value: unknown = 1;
    for (let level = 0; level < 900; level++) value = JSON.parse(`{"__proto__":${JSON.stringify(value)}}`);
    return updateOf((doc) => doc.getMap("marks").set("d", value as string));
  }),
  large: once(() => largeUpdates(5, 200_000)),
  presence: once(() => {
    const store = new EphemeralStore(60_000);
    for (let n = 0; n < 5_000; n++) store.set(`k${n}`, 0);
    const update = store.encodeAll();
    store.destroy();
    return update;
  }),
};

const http: Attack[] = [
  {
    name: "numbers of a hundred thousand digits, then a snapshot",
    everyMs: 1_000,
    async run(target) {
      const { own, shared } = bodies.numbers();
      await target.post("/v1/push", own);
      await target.post("/v1/push", shared);
      await target.post("/v1/snapshot", `{"app_id":"${app}"}`);
    },
  },
  {
    name: "a record revived with everything it ever held",
    everyMs: 2_000,
    async run(target) {
      const at = (month: string) => `,"at":"2026-${month}-01T00:00:00Z","space_id":"${team}"`;
      const hidden = Array.from({ length: 200 }, (_, n) => change("pill", `{"h${n}":1e100000}`, at("03")));
      const steps = ['{"op":"delete","table":"t","id":"pill"', '{"op":"insert","table":"t","id":"pill","data":{}'];
      await target.post("/v1/push", pushOf([`${steps[0]}${at("02")}}`, ...hidden, `${steps[1]}${at("04")}}`]));
      await target.post("/v1/pull", `{"app_id":"${app}"}`);
    },
  },
  {
    name: "eight megabytes of what is no list of names",
    everyMs: 1_500,
    run: (target) => target.post("/v1/pull", bodies.zeros()),
  },
  {
    name: "eight megabytes of names, and of brackets",
    everyMs: 2_500,
    async run(target) {
      await target.post("/v1/push", bodies.names());
      await target.post("/v1/push", bodies.brackets());
      await target.post(`/v1/documents/~/${app}/boards/x`, `{"patch":${bodies.names()}}`, "PATCH");
    },
  },
  {
    name: "a query of fifteen thousand parameters",
    everyMs: 500,
    run: (target) => target.post(`/v1/changes?${bodies.parameters()}`, "", "GET"),
  },
  {
    name: "forty pulls at once",
    everyMs: 20,
    run: (target) =>
      Promise.all(Array.from({ length: 40 }, () => target.post("/v1/pull", `{"app_id":"${app}","page_size":10000}`))),
  },
  {
    name: "ten pushes of a megabyte at once",
    everyMs: 500,
    run: (target) =>
      Promise.all(
        Array.from({ length: 10 }, () =>
          target.post("/v1/push", pushOf([change(`r${target.random.below(20)}`, bodies.long())])),
        ),
      ),
  },
  {
    name: "half a letter, a zero byte and broken UTF-8 between good changes",
    everyMs: 300,
    async run(target) {
      const good = change("g", '{"a":1}');
      for (const bad of ['{"t":"\\ud83d"}', '{"t":"\\u0000"}', '{"t":1e200000}', "[".repeat(10_000)]) {
        await target.post("/v1/push", pushOf([good, change("b", bad), good]));
      }
    },
  },
  {
    name: "times before Christ, in a shared space",
    everyMs: 500,
    run: (target) =>
      target.post(
        "/v1/push",
        pushOf([
          change("shared", '{"title":"EVE"}', `,"at":"4713-01-01T00:00:00 BC Z","space_id":"${team}"`),
          `{"op":"delete","table":"t","id":"shared","at":"4713-01-01T00:00:00 BC Z","space_id":"${team}"}`,
        ]),
      ),
  },
  {
    name: "another's client id",
    everyMs: 300,
    run: (target) =>
      target.post("/v1/push", pushOf([change("spoof", '{"n":9999}', `,"space_id":"${team}"`)], "bystander")),
  },
  {
    name: "reading what is not theirs",
    everyMs: 300,
    async run(target) {
      await target.post("/v1/snapshot", `{"app_id":"${app}","space_id":"vault"}`);
      await target.post("/v1/pull", `{"app_id":"${app}"}`);
      await target.post(`/v1/documents/vault/${app}/boards/plan`, "", "GET");
      await target.post(`/v1/documents/vault/${app}/boards/plan/history`, "", "GET");
      await target.post("/v1/push", pushOf([change("plan", '{"a":1}', ',"space_id":"vault"')]));
    },
  },
];

const shape = (where: string) => `/v1/shape?table=tickets&offset=-1&where=${encodeURIComponent(where)}`;
const nested = (levels: number, before: string, inner: string, after: string) =>
  before.repeat(levels) + inner + after.repeat(levels);

const shapes: Attack[] = [
  {
    name: "filters that make much of little, and that take long",
    everyMs: 1_000,
    hasRows: true,
    async run(target) {
      const tenfold = nested(12, "replace(", "'aaaaaaaaaa'", ", 'a', 'aaaaaaaaaa')");
      const escaped = nested(28, "to_jsonb(", "title", ")::text");
      for (const where of [`length(${tenfold}) > 0`, `length(${escaped}) > 0`, "title ~ '^((a*)*)*b$'", "1 / id > 0"]) {
        await target.post(shape(where), "", "GET");
      }
      await target.post(shape(`title like '%${"a".repeat(2_000)}%${"a".repeat(2_000)}'`), "", "GET");
    },
  },
  {
    name: "rows of shapes that nobody reads",
    everyMs: 2_000,
    hasRows: true,
    async run(target) {
      const headers = `Host: 127.0.0.1\r\nAuthorization: Bearer ${target.token()}\r\nContent-Length: 2`;
      for (let n = 0; n < 10; n++) {
        const path = "/v1/shape?table=tickets&offset=now&log=changes_only";
        target.write(target.deafSocket(), `POST ${path} HTTP/1.1\r\n${headers}\r\n\r\n{}`);
      }
    },
  },
  {
    name: "the console, spaces and shapes that are not theirs",
    everyMs: 500,
    async run(target) {
      for (const view of ["spaces", "log", "space?space_id=vault", "doctor", "__proto__"]) {
        await target.post(`/v1/console/${view}`, "", "GET");
      }
      await target.post("/v1/spaces/vault", "", "GET");
      await target.post("/v1/spaces/vault/invitations", "{}");
      await target.post("/v1/invitations", `{"invitation":"${"0".repeat(64)}.vault"}`);
      await target.post(shape("team = 'vault'"), "", "GET");
      await target.post(shape("hidden is not null"), "", "GET");
      await target.post(
        "/v1/push",
        pushOf(['{"op":"update","table":"tickets","id":"1","space_id":"vault","data":{}}']),
      );
    },
  },
  {
    name: "spaces without end, and others in them",
    everyMs: 1_000,
    async run(target) {
      for (let n = 0; n < 5; n++) {
        const space = `spam${target.random.below(1e9)}`;
        await target.post("/v1/spaces", `{"space_id":"${space}"}`);
        await target.post(`/v1/spaces/${space}/members/bystander`, '{"role":"viewer"}', "PUT");
      }
    },
  },
];

const unread: Attack[] = [
  {
    name: "answers that nobody reads",
    everyMs: 500,
    async run(target) {
      const body = `{"app_id":"${app}"}`;
      for (let n = 0; n < 10; n++) {
        target.write(
          target.deafSocket(),
          `POST /v1/pull HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${target.token()}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
        );
      }
    },
  },
  {
    name: "backfills that nobody reads, on sockets that say ping",
    everyMs: 5_000,
    async run(target) {
      const rooms = Array.from({ length: 5 }, (_, n) => `/${app}/boards/large${n}`);
      const writer = await target.socket();
      for (const room of rooms) {
        target.join(writer, room);
        for (const update of bodies.large()) target.send(writer, batch(room, [update]));
      }
      await target.pause(1_000);
      const deaf = await Promise.all(Array.from({ length: 10 }, () => target.socket({ reads: false })));
      for (let n = 0; n < 8; n++) {
        for (const socket of deaf) {
          for (const room of rooms) target.join(socket, room.replaceAll("boards", `board%${(0x73).toString(16)}`));
          target.send(socket, "ping");
        }
        await target.pause(500);
      }
    },
  },
  {
    name: "sockets that show no token, and half a request",
    everyMs: 3_000,
    async run(target) {
      await Promise.all(Array.from({ length: 100 }, () => target.socket({ token: false })));
      for (let n = 0; n < 50; n++) target.write(target.deafSocket(), "POST /v1/push HTTP/1.1\r\nHost: 127.0.0.1\r\nX");
    },
  },
];

const rooms: Attack[] = [
  {
    name: "rooms of documents that are not there",
    everyMs: 2_000,
    async run(target) {
      const socket = await target.socket();
      for (let n = 0; n < 900; n++) target.join(socket, `/${app}/boards/none${target.random.below(1e9)}`);
      await target.pause(1_000);
      socket.close();
    },
  },
  {
    name: "presence of many keys, in many rooms, a day ahead of time",
    everyMs: 1_000,
    async run(target) {
      const socket = await target.socket();
      const update = bodies.presence();
      for (const crdt of ["%EPH", "%EPS"] as const) {
        for (let n = 0; n < 10; n++) {
          const room = `/${app}/boards/p${n}`;
          target.join(socket, room, crdt);
          target.send(socket, batch(room, [update], crdt));
        }
        target.join(socket, `${team}/${app}/boards/b1`, crdt);
        target.send(socket, batch(`${team}/${app}/boards/b1`, [update], crdt));
      }
      await target.pause(500);
      socket.close();
    },
  },
  {
    name: "one value of hundreds of thousands of items, and one of a great depth",
    everyMs: 2_000,
    async run(target) {
      const socket = await target.socket();
      const room = `/${app}/boards/value${target.random.below(5)}`;
      target.join(socket, room);
      target.send(socket, batch(room, [bodies.wide()]));
      target.send(socket, batch(room, [bodies.deep()]));
      await target.pause(500);
      socket.close();
    },
  },
  {
    name: "bytes that are no frame, and no update",
    everyMs: 100,
    async run(target) {
      const socket = await target.socket();
      const room = `/${app}/boards/bytes`;
      target.join(socket, room);
      const good = updateOf((doc) => doc.getText("body").insert(0, "hello"));
      for (let n = 0; n < 20; n++) {
        const bad = Uint8Array.from(good);
        bad[target.random.below(bad.length)] = target.random.below(256);
        target.send(socket, batch(room, [bad]));
      }
      await target.pause(200);
      target.send(socket, randomBytes(200));
      await target.pause(50);
      socket.terminate();
    },
  },
  {
    name: "operations under the peer of somebody else",
    everyMs: 500,
    async run(target) {
      const socket = await target.socket();
      const room = `${team}/${app}/boards/b${1 + target.random.below(2)}`;
      const doc = new LoroDoc();
      socket.on("message", (data: Buffer, isBinary) => {
        if (isBinary) collect(doc, data);
      });
      target.join(socket, room);
      await target.pause(300);
      const peers = [...doc.oplogVersion().toJSON()];
      if (peers.length > 0 && !closed(socket)) {
        const [peer, end] = target.random.pick(peers);
        const fork = new LoroDoc();
        fork.import(doc.export({ mode: "snapshot" }));
        fork.setPeerId(peer);
        const from = fork.version();
        fork.getMap("marks").set(`stolen ${end}`, true);
        fork.commit();
        target.send(socket, batch(room, [fork.export({ mode: "update", from })]));
        fork.free();
      }
      await target.pause(200);
      socket.close();
    },
  },
];

function collect(doc: LoroDoc, data: Buffer): void {
  // A frame's updates are whole Loro blobs: found by their first bytes, since an attacker reads what he likes.
  for (let at = data.indexOf("loro"); at >= 0; at = data.indexOf("loro", at + 1)) {
    try {
      doc.import(new Uint8Array(data.subarray(at)));
      return;
    } catch {
      // Not one.
    }
  }
}

/** A statement of a database login, cut off when the attack ends. */
async function sql(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => undefined);
  await client.connect();
  try {
    await work(client);
  } catch {
    // Refused, as it should be.
  } finally {
    await client.end();
  }
}

const database: Attack[] = [
  {
    name: "forged notifications by a login that has no right at all",
    everyMs: 500,
    run: (target) =>
      sql(target.databaseUrls.nobody, async (client) => {
        const payload = (space: string) => `{"v":1,"space_id":"${space}","seq":1000000000000000}`;
        for (const space of ["~bystander", team, "x\u0001"]) {
          await client.query("select pg_notify('perch_changes', $1)", [payload(space)]);
        }
        await client.query("select pg_notify('perch_documents', '{')");
        await client.query("select pg_notify('perch_documents', repeat('x', 7000))");
      }),
  },
  {
    name: "locks held by a login that has no right at all",
    everyMs: 500,
    run: (target) =>
      sql(target.databaseUrls.nobody, async (client) => {
        await client.query("select pg_advisory_lock(n) from generate_series(1, 500) n");
        await client.query(
          `select pg_advisory_lock(('x' || substr(md5(k), 1, 16))::bit(64)::bigint)
             from unnest(array['inbox', 'document', 'perch', '["document","team","faults","boards","b1"]']) k`,
        );
        await target.pause(1_500);
      }),
  },
  {
    name: "a transaction left open in the shared space",
    everyMs: 2_500,
    run: (target) =>
      sql(target.databaseUrls.app, async (client) => {
        await client.query("begin");
        await client.query("set local role perch_app");
        await client.query("select perch.set_context(user_id => $1)", [target.user]);
        await client.query("select perch.push(app_id => $1, client_id => 'psql', changes => $2)", [
          app,
          `[{"op":"insert","table":"t","id":"held","space_id":"${team}","data":{}}]`,
        ]);
        await target.pause(1_500);
        await client.query("rollback");
      }),
  },
  {
    name: "limits lifted by SET",
    everyMs: 500,
    run: (target) =>
      sql(target.databaseUrls.app, async (client) => {
        await client.query("begin; set local role perch_app; set local perch.clock_tolerance_ms = '2e14'");
        await client.query("select perch.set_context(user_id => $1)", [target.user]);
        await client.query("select perch.push(app_id => $1, client_id => 'psql', changes => $2)", [
          app,
          `[{"op":"update","table":"t","id":"shared","space_id":"${team}","at":"8000-01-01T00:00:00Z","data":{"title":"EVE"}}]`,
        ]);
        await client.query("commit");
      }),
  },
];

const attacks: readonly Attack[] = [...http, ...shapes, ...unread, ...rooms, ...database];

/** Those whose name matches an expression; all, when there is none. */
export const attacksNamed = (only = ""): readonly Attack[] => attacks.filter(({ name }) => new RegExp(only).test(name));
