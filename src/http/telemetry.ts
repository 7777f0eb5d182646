import { createMetrics, type Metrics } from "../lib/metrics.js";
import { roomTypeOf } from "../protocol/decode.js";
import { ackStatus } from "../protocol/protocol.js";
import type { Presence } from "../rooms/presence-room.js";
import type { OpenConnection } from "../websocket/connection.js";

/** What the gateway counts. */
export interface Telemetry {
  readonly metrics: Metrics;
  /** A batch was acknowledged, so long after it was received. */
  acked(status: number, seconds: number): void;
  /** A batch of so many updates was committed, so long after it was received. */
  committed(updates: number, seconds: number): void;
  /** A committed batch was handed to a reader of this node, so long after it was received. */
  delivered(seconds: number): void;
  joined(result: "ok" | "refused" | "failed"): void;
  /** A request was answered, so long after it was received, its waiting for something to happen apart; undefined for a stream. */
  answered(path: string, status: number, seconds: number | undefined): void;
  /** The event streams that are open. */
  watchStreams(streams: { readonly size: number }): void;
  streamEnded(reason: string): void;
  /** So many changes or records went to a reader without their content. */
  withheld(reason: string, count: number): void;
}

const statusNames = new Map<number, string>(Object.entries(ackStatus).map(([name, status]) => [status, name]));

export function createTelemetry(connections: ReadonlySet<OpenConnection>, presence: Presence): Telemetry {
  const metrics = createMetrics();
  metrics.gauge("perch_sockets", "Open sockets.", () => connections.size);
  metrics.gauge(
    "perch_rooms",
    "Rooms joined, by type, counted once for each socket.",
    () => roomsByType(connections),
    "type",
  );
  metrics.gauge("perch_presence_rooms", "Rooms whose presence is kept.", () => presence.rooms);
  metrics.gauge("process_resident_memory_bytes", "Memory of the process.", () => process.memoryUsage.rss());
  const batches = metrics.counter("perch_batches_total", "Batches answered, by the status of the answer.", ["status"]);
  const batchSeconds = metrics.histogram("perch_batch_seconds", "From the receipt of a batch to its acknowledgement.");
  const edits = metrics.counter("perch_edits_total", "Updates of clients that were committed.", []);
  const commitSeconds = metrics.histogram("perch_commit_seconds", "From the receipt of a batch to its commit.");
  const deliverySeconds = metrics.histogram(
    "perch_delivery_seconds",
    "From the receipt of a batch, by way of its commit, to its being queued for another reader of this node.",
  );
  const joins = metrics.counter("perch_joins_total", "Joins answered, by result.", ["result"]);
  const requests = metrics.counter("perch_requests_total", "HTTP requests answered.", ["path", "status"]);
  const requestSeconds = metrics.histogram(
    "perch_request_seconds",
    "From the receipt of a request to its answer, without the time that long polls wait for news. Streams are not counted.",
  );
  const streamEnds = metrics.counter("perch_streams_ended_total", "Event streams that ended, by why.", ["reason"]);
  const withheld = metrics.counter(
    "perch_withheld_total",
    "Changes and records that readers were given without their content, by why.",
    ["reason"],
  );
  return {
    metrics,
    withheld: (reason, count) => withheld.count(count, reason),
    acked(status, seconds) {
      batches.add(statusNames.get(status) ?? status);
      batchSeconds.observe(seconds);
    },
    committed(updates, seconds) {
      edits.count(updates);
      commitSeconds.observe(seconds);
    },
    delivered: (seconds) => deliverySeconds.observe(seconds),
    joined: (result) => joins.add(result),
    answered(path, status, seconds) {
      requests.add(path, status);
      if (seconds !== undefined) requestSeconds.observe(seconds);
    },
    watchStreams: (streams) => metrics.gauge("perch_streams", "Open event streams.", () => streams.size),
    streamEnded: (reason) => streamEnds.add(reason),
  };
}

function roomsByType(connections: Iterable<OpenConnection>): Record<string, number> {
  const rooms: Record<string, number> = {};
  for (const { members } of connections) {
    for (const { head } of members.values()) {
      const type = roomTypeOf(head).slice(1).toLowerCase();
      rooms[type] = (rooms[type] ?? 0) + 1;
    }
  }
  return rooms;
}
