import {
  type Cursor,
  createReplica,
  type FoldedRecord,
  type FollowEvent,
  type PerchClient,
  PerchError,
  type PulledChange,
  type PushResult,
  positionIn,
  type Replica,
} from "../index.js";
import { pauseMs, sleep } from "../waiting.js";

/** Who shows the records of an app. */
export interface Subscriber {
  /** The records of these keys are other than before; undefined: they are held no more. All of them were committed by now, whole transactions. */
  changed(records: ReadonlyMap<string, FoldedRecord | undefined>): void;
  /** What was there at the beginning has been given. */
  ready(): void;
  /** It does not go on: the token is refused, say. */
  failed(error: unknown): void;
}

/** Records of one app, held for all collections that show them, from one stream. */
export interface AppSync {
  /** Begins with what is held. Out: ends it; the last one to go ends the stream. */
  subscribe(subscriber: Subscriber): () => void;
  /** Resolves when what a push did has come by the stream and all subscribers have it; false when it did not come in time. */
  seen(result: PushResult, timeoutMs?: number): Promise<boolean>;
  /** Called whenever the stream stands anew: the server can be reached. Out: ends that. */
  onOpen(listener: () => void): () => void;
}

const syncs = new WeakMap<PerchClient, Map<string, AppSync>>();

/** The stream that all collections of a client and an app share: browsers open six connections to a host, and no more. */
export function syncOf(client: PerchClient, appId: string): AppSync {
  const ofClient = syncs.get(client) ?? new Map<string, AppSync>();
  syncs.set(client, ofClient);
  const known = ofClient.get(appId) ?? createSync(client, appId);
  ofClient.set(appId, known);
  return known;
}

/** Of what came lately it is remembered what it was, since the answer to a push may be later than its echo. */
const remembered = 10_000;
/** With more spaces the log is read from its beginning, which takes one request. */
const maxSnapshots = 100;

interface Waiting {
  readonly result: PushResult;
  readonly resolve: (seen: boolean) => void;
}

/** One connection's time: what is held and how far it has come. Whoever comes when all had gone begins with a new one. */
interface Run {
  readonly stop: AbortController;
  replica: Replica;
  /** Keys of what is other than the subscribers were told. */
  touched: Set<string>;
  cursor: Cursor;
  /** What came lately, by op_id and txid. */
  readonly recent: Set<string>;
  isReady: boolean;
  failure: unknown;
}

const newRun = (): Run => ({
  stop: new AbortController(),
  replica: createReplica(),
  touched: new Set(),
  cursor: {},
  recent: new Set(),
  isReady: false,
  failure: undefined,
});

function createSync(client: PerchClient, appId: string): AppSync {
  const subscribers = new Set<Subscriber>();
  const openListeners = new Set<() => void>();
  const waiting = new Set<Waiting>();
  let current: Run | undefined;

  function flush(run: Run): void {
    const changed = new Map([...run.touched].map((key) => [key, run.replica.records.get(key)] as const));
    run.touched = new Set();
    if (changed.size > 0) for (const each of subscribers) each.changed(changed);
    for (const each of waiting) if (isSeen(run, each.result)) each.resolve(true);
  }

  /**
   * Takes the records of all spaces, in place of what an attempt before this one had of them: what was deleted since then is not told. Out: the cursor
   * behind them; the beginning of the log where they could not be had as one.
   */
  async function takeSnapshots(run: Run): Promise<Cursor> {
    const { signal } = run.stop;
    forget(run);
    const spaces = await client.spaces.list({ signal });
    if (spaces.length > maxSnapshots) return {};
    let cursor: Cursor = {};
    try {
      for (const { space_id: spaceId } of spaces) {
        for (let after: string | null | undefined; after !== null; ) {
          const page = await client.snapshot({ appId, spaceId, after, cursor, signal });
          after = page.next;
          const last = after === null;
          apply(run, { type: "snapshot", spaceId, records: page.records, last, cursor: null });
          if (last) cursor = page.cursor;
        }
      }
      return cursor;
    } catch (error) {
      if (!(error instanceof PerchError) || !["PE403", "PE410"].includes(error.code)) throw error;
      // Put out of a space meanwhile, or the database went back.
      forget(run);
      return {};
    }
  }

  async function begin(run: Run): Promise<Cursor> {
    const { signal } = run.stop;
    for (let attempt = 0; ; attempt++) {
      try {
        return await takeSnapshots(run);
      } catch (error) {
        if (!(error instanceof PerchError) || !error.isPassing) throw error;
        await sleep(pauseMs(attempt, 500, 10_000), signal);
        signal.throwIfAborted();
      }
    }
  }

  async function follow(run: Run): Promise<void> {
    const { signal } = run.stop;
    run.cursor = await begin(run);
    const onOpen = () => {
      for (const each of openListeners) each();
    };
    for await (const event of client.follow({ appId, cursor: run.cursor, signal, onOpen })) {
      if (signal.aborted) return;
      apply(run, event);
      if (event.type === "changes") {
        run.cursor = event.cursor;
        for (const change of event.changes) remember(run, change);
        // Until the end of the log is reached a transaction may be there in part.
        if (event.hasMore) continue;
        flush(run);
        if (run.isReady) continue;
        run.isReady = true;
        for (const each of subscribers) each.ready();
      } else if (event.type === "snapshot" && event.cursor !== null) {
        run.cursor = event.cursor;
        flush(run);
      }
    }
  }

  function start(): Run {
    const run = newRun();
    follow(run).catch((error: unknown) => {
      if (run.stop.signal.aborted) return;
      run.failure = error;
      for (const each of subscribers) each.failed(error);
    });
    return run;
  }

  return {
    subscribe(subscriber) {
      subscribers.add(subscriber);
      if (current === undefined) current = start();
      else {
        const { replica, touched, isReady, failure } = current;
        // What waits for the end of the log comes with it.
        const held = [...replica.records].filter(([key]) => !touched.has(key));
        if (held.length > 0) subscriber.changed(new Map(held));
        if (isReady) subscriber.ready();
        if (failure !== undefined) subscriber.failed(failure);
      }
      return () => {
        if (!subscribers.delete(subscriber) || subscribers.size > 0) return;
        current?.stop.abort();
        current = undefined;
        for (const { resolve } of waiting) resolve(false);
      };
    },
    seen(result, timeoutMs = 30_000) {
      if (current === undefined) return Promise.resolve(false);
      if (isSeen(current, result)) return Promise.resolve(true);
      return new Promise((resolve) => {
        const timer = setTimeout(() => settle(false), timeoutMs);
        const settle = (seen: boolean) => {
          clearTimeout(timer);
          waiting.delete(entry);
          resolve(seen);
        };
        const entry: Waiting = { result, resolve: settle };
        waiting.add(entry);
      });
    },
    onOpen(listener) {
      openListeners.add(listener);
      return () => openListeners.delete(listener);
    },
  };
}

/** Of what nobody was shown yet. */
function forget(run: Run): void {
  run.replica = createReplica();
  run.touched = new Set();
}

function apply(run: Run, event: FollowEvent): void {
  for (const key of run.replica.apply(event)) run.touched.add(key);
}

function remember({ recent }: Run, { op_id, txid }: PulledChange): void {
  if (op_id !== null) recent.add(`op ${op_id}`);
  if (txid !== null) recent.add(`tx ${txid}`);
  for (const oldest of recent) {
    if (recent.size <= remembered) break;
    recent.delete(oldest);
  }
}

function isSeen({ cursor, recent, touched }: Run, { space_id, seq, op_id, txid }: PushResult): boolean {
  // What has come and was not shown yet is not seen.
  if (touched.size > 0) return false;
  if (seq !== null && space_id !== null && positionIn(cursor, space_id) >= seq) return true;
  return (op_id !== null && recent.has(`op ${op_id}`)) || (txid !== undefined && recent.has(`tx ${txid}`));
}
