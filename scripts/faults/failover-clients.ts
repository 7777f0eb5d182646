/** Who works while servers are killed: each does one thing, until it is acknowledged, and then the next. */
import { randomUUID } from "node:crypto";
import { createPerchClient, createReplica, isLive } from "../../src/client/index.js";
import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/context.js";
import { userToken } from "../support/user-token.js";
import { pause, until } from "./until.js";

export const spaceId = "team";
const ignore = () => undefined;

/** Somebody who does one thing after the other, and the same again until it is acknowledged. */
export interface Writer {
  /** What has been acknowledged, in this order. */
  readonly acknowledged: readonly string[];
  stop(): Promise<void>;
}

function keepWriting(write: (id: string) => Promise<boolean>): Writer {
  const acknowledged: string[] = [];
  let stopped = false;
  const writing = (async () => {
    while (!stopped) {
      const id = randomUUID();
      while (!(await write(id))) {
        if (stopped) return;
        await pause(50);
      }
      acknowledged.push(id);
      await pause(5);
    }
  })();
  return {
    acknowledged,
    async stop() {
      stopped = true;
      await writing;
    },
  };
}

const headersOf = (user: string) => ({
  authorization: `Bearer ${userToken(user)}`,
  "content-type": "application/json",
});

/** Pushes through a node, with op_ids. */
export function pushing(httpUrl: string, user: string, wrong: Set<string>): Writer {
  const headers = headersOf(user);
  return keepWriting(async (id) => {
    const changes = [{ op: "insert", table: "todos", id, op_id: id, space_id: spaceId, data: { title: id } }];
    const body = JSON.stringify({ app_id: "faults", client_id: user, changes });
    const answer = await fetch(`${httpUrl}/v1/push`, { method: "POST", headers, body }).catch(ignore);
    const text = await answer?.text().catch(ignore);
    if (answer === undefined || text === undefined) return false;
    if (answer.status !== 200 && answer.status !== 503) wrong.add(`a push was answered ${answer.status}: ${text}`);
    if (answer.status !== 200) return false;
    const [result] = (JSON.parse(text) as { results: { status: string }[] }).results;
    if (result?.status === "rejected") wrong.add(`a push was rejected: ${text}`);
    return result?.status === "applied" || result?.status === "replayed";
  });
}

/** Puts checkpoints from a program of its own. */
export function checkpointing(db: Database, threadId: string, wrong: Set<string>): Writer {
  let step = 0;
  return keepWriting(async (id) => {
    try {
      await withContext(db, { userId: "agent", tenantId: "agents" }, (tx) =>
        tx.query("select perch.put_checkpoint(thread_id => $1, state => $2, step => $3, id => $4)", [
          threadId,
          JSON.stringify({ id }),
          step,
          id,
        ]),
      );
      step += 1;
      return true;
    } catch (error) {
      const code = String((error as { code?: unknown }).code);
      if (code.startsWith("PE")) wrong.add(`a checkpoint was refused: ${String(error)}`);
      return false;
    }
  });
}

/** Writes rows of a synced table by plain SQL, from a program of its own that knows nothing of perch. */
export function writingRows(db: Database, wrong: Set<string>): Writer {
  return keepWriting(async (id) => {
    try {
      // What had no answer may be there.
      await db.query("insert into faults_rows (id, team) values ($1, $2) on conflict (id) do nothing", [id, spaceId]);
      return true;
    } catch (error) {
      const code = String((error as { code?: unknown }).code);
      if (code.startsWith("PE") || code.startsWith("23")) wrong.add(`a row was refused: ${String(error)}`);
      return false;
    }
  });
}

/** A device that follows the log, and keeps what is there. */
export function following(httpUrl: string, appId: string, wrong: Set<string>) {
  const replica = createReplica();
  const stop = new AbortController();
  let resyncs = 0;
  const reading = (async () => {
    const client = createPerchClient({ url: httpUrl, token: userToken("owner"), clientId: "reader" });
    for await (const event of client.follow({ appId, signal: stop.signal })) {
      if (event.type === "resync") resyncs += 1;
      replica.apply(event);
    }
  })().catch((error: unknown) => {
    wrong.add(`a reader gave up: ${String(error)}`);
  });
  return {
    /** Ids of what it shows, by table. */
    shown(table: string): ReadonlySet<string> {
      return new Set(
        [...replica.records.values()].filter((record) => record.table === table && isLive(record)).map(({ id }) => id),
      );
    },
    /** How often it was told that the log does not go on from where it was. */
    get resyncs() {
      return resyncs;
    },
    async stop() {
      stop.abort();
      await reading;
    },
  };
}

/** Reads the log from its beginning, a page and again: what is answered after a promotion is of the epoch begun then. */
export function watchingEpochs(httpUrl: string) {
  const answers: { begunAt: number; status: number; text: string }[] = [];
  let stopped = false;
  const watching = (async () => {
    while (!stopped) {
      const begunAt = Date.now();
      const answer = await fetch(`${httpUrl}/v1/pull`, {
        method: "POST",
        headers: headersOf("owner"),
        body: JSON.stringify({ app_id: "faults", page_size: 1 }),
      }).catch(ignore);
      const text = await answer?.text().catch(ignore);
      if (answer !== undefined && text !== undefined) answers.push({ begunAt, status: answer.status, text });
      await pause(2);
    }
  })();
  return {
    answers,
    async stop() {
      stopped = true;
      await watching;
    },
  };
}

export const pullFrom = async (httpUrl: string, cursor: unknown) => {
  const body = JSON.stringify({ app_id: "faults", cursor, page_size: 1 });
  const answer = await fetch(`${httpUrl}/v1/pull`, { method: "POST", headers: headersOf("owner"), body });
  return { status: answer.status, text: await answer.text() };
};

/** Where somebody has read to: the beginning of the log will do, as its entries stay whatever is restored. */
export async function cursorBefore(httpUrl: string): Promise<unknown> {
  let cursor: unknown;
  await until("a page is pulled", async () => {
    const { status, text } = await pullFrom(httpUrl, undefined);
    if (status === 200) cursor = (JSON.parse(text) as { cursor: unknown }).cursor;
    return status === 200;
  });
  return cursor;
}
