/**
 * A network that can be made bad: a TCP proxy whose connections can be cut, held and slowed down, and which spreads them over several
 * targets in turn, as a load balancer without stickiness does.
 */
import { connect as connectTcp, createServer, type Socket } from "node:net";

export interface Target {
  readonly host?: string;
  readonly port: number;
}

type Held = "both" | "answers" | "later answers";

export interface TcpProxy {
  readonly port: number;
  /** Connections open now. */
  connections(): number;
  /** Resets connections, on both sides. In: which of them, by their number from 0; all when not given. Out: how many. */
  cut(which?: (index: number) => boolean): number;
  /**
   * Nothing goes through any more, in either direction (or only no answers, or none but the first of each connection), until `release`.
   * New connections are made, and are as mute.
   */
  hold(direction?: Held): void;
  /** What was held goes on, in its order. */
  release(): void;
  /** Every answer takes so many milliseconds longer from now on. */
  delayAnswers(ms: number): void;
  close(): Promise<void>;
}

/** A direction of a connection: what came in and has not been passed on. */
interface Lane {
  readonly from: Socket;
  readonly to: Socket;
  readonly queue: { readonly bytes: Buffer; readonly dueAt: number }[];
  /** Something has gone through. */
  begun: boolean;
  /** The sender has said all. */
  ended: boolean;
  timer: NodeJS.Timeout | undefined;
}

interface Pair {
  readonly requests: Lane;
  readonly answers: Lane;
}

export async function startTcpProxy(targets: readonly Target[] | Target): Promise<TcpProxy> {
  const all = Array.isArray(targets) ? (targets as readonly Target[]) : [targets as Target];
  const pairs = new Set<Pair>();
  let held: Held | undefined;
  let delay = 0;
  let turn = 0;

  const isHeld = (pair: Pair, lane: Lane) => {
    if (held === undefined || held === "both") return held !== undefined;
    return lane === pair.answers && (held === "answers" || lane.begun);
  };

  function flush(pair: Pair, lane: Lane): void {
    clearTimeout(lane.timer);
    lane.timer = undefined;
    if (isHeld(pair, lane)) return;
    const due: Buffer[] = [];
    for (let next = lane.queue[0]; next !== undefined && next.dueAt <= Date.now(); next = lane.queue[0]) {
      due.push(next.bytes);
      lane.queue.shift();
    }
    // At once, as what waited in a network's buffers.
    if (due.length > 0 && lane.to.writable) lane.to.write(Buffer.concat(due));
    lane.begun ||= due.length > 0;
    const [next] = lane.queue;
    if (next !== undefined) {
      lane.timer = setTimeout(() => flush(pair, lane), Math.max(1, next.dueAt - Date.now()));
      return;
    }
    if (lane.ended) lane.to.end();
  }

  function end(pair: Pair, reset: boolean): void {
    pairs.delete(pair);
    for (const lane of [pair.requests, pair.answers]) {
      clearTimeout(lane.timer);
      if (reset) lane.from.resetAndDestroy();
      else lane.from.destroy();
    }
  }

  function join(client: Socket, server: Socket): void {
    const requests: Lane = { from: client, to: server, queue: [], begun: false, ended: false, timer: undefined };
    const answers: Lane = { from: server, to: client, queue: [], begun: false, ended: false, timer: undefined };
    const pair = { requests, answers };
    pairs.add(pair);
    for (const lane of [requests, answers]) {
      lane.from.setNoDelay(true);
      lane.from.on("data", (bytes) => {
        lane.queue.push({ bytes, dueAt: Date.now() + (lane === answers ? delay : 0) });
        if (lane.timer === undefined) flush(pair, lane);
      });
      lane.from.on("end", () => {
        lane.ended = true;
        if (lane.timer === undefined) flush(pair, lane);
      });
      lane.from.on("error", () => end(pair, true));
      lane.from.on("close", () => {
        // The other side hears of it when the line works again, as with a cable that was pulled.
        if (pairs.has(pair) && held === undefined && lane.queue.length === 0) end(pair, false);
      });
      lane.from.resume();
    }
  }

  /** The next target in turn that takes connections. */
  function dial(client: Socket, tried = 0): void {
    const target = all[turn++ % all.length];
    if (target === undefined || tried === all.length) {
      client.resetAndDestroy();
      return;
    }
    const server = connectTcp({ host: target.host ?? "127.0.0.1", port: target.port, allowHalfOpen: true });
    const failed = () => dial(client, tried + 1);
    server.once("error", failed);
    server.once("connect", () => {
      server.off("error", failed);
      if (client.destroyed) server.destroy();
      else join(client, server);
    });
  }

  // Nothing is read before there is somewhere to send it.
  const listener = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
    client.on("error", () => client.destroy());
    dial(client);
  });
  await new Promise<void>((done) => listener.listen(0, "127.0.0.1", done));
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");

  return {
    port: address.port,
    connections: () => pairs.size,
    cut(which = () => true) {
      const chosen = [...pairs].filter((_, index) => which(index));
      for (const pair of chosen) end(pair, true);
      return chosen.length;
    },
    hold(direction = "both") {
      held = direction;
    },
    release() {
      held = undefined;
      for (const pair of [...pairs]) {
        for (const lane of [pair.requests, pair.answers]) flush(pair, lane);
        if (pair.requests.from.destroyed || pair.answers.from.destroyed) end(pair, false);
      }
    },
    delayAnswers(ms) {
      delay = ms;
    },
    async close() {
      for (const pair of [...pairs]) end(pair, true);
      await new Promise((done) => listener.close(done));
    },
  };
}
