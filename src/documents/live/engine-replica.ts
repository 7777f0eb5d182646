import { type CallOptions, EngineLost } from "../../engine/engine.js";
import type { Machine } from "../../lib/state-machine.js";
import type { DocumentThreadApi, Ends } from "../loro/api.js";
import type { DocumentEngine } from "../loro/engine.js";
import type { FieldKinds } from "../loro/fields.js";
import { goesOn, type Typing, typingAfter } from "../loro/format/typing.js";
import { innocentAttempts, isLost } from "../loro/lost.js";
import type { StoredDocument } from "./queries.js";
import type { Event, State } from "./states.js";

/** Typed updates that are kept back from the thread. */
const maxTyped = 128;

/** After these it is not known where the writers stand. */
const changes: ReadonlySet<string> = new Set(["import", "importRun", "patch", "revert"]);

/** What is done with a replica, by method; its first argument, the document's name, is known. */
type ReplicaMethod = Exclude<
  keyof DocumentThreadApi,
  "load" | "has" | "unpack" | "peers" | "importChecked" | "drop" | "stats"
>;
type ReplicaArgs<Method extends ReplicaMethod> =
  Parameters<DocumentThreadApi[Method]> extends [string, ...infer Rest] ? Rest : never;

/**
 * The replica of one document in an engine thread, and what belongs to it but has not been sent there yet: updates that only go on with
 * typing are understood here, without waking the thread, and reach it together, ahead of the next call that needs the replica.
 */
export interface EngineReplica {
  /** How long the last load took the engine. */
  readonly loadMs: number;
  load(stored: StoredDocument): Promise<void>;
  /** Whether the replica was loaded for other fields than these. */
  differs(fields: FieldKinds): boolean;
  /** Calls the engine. Errors: as the method's, and `isLost`. */
  call<Method extends ReplicaMethod>(
    method: Method,
    args: ReplicaArgs<Method>,
    options?: CallOptions,
  ): Promise<ReturnType<DocumentThreadApi[Method]>>;
  /**
   * The engine has taken in this update last, and has `room` for so many bytes more: what goes on with it needs no engine. Undefined:
   * others, of which that cannot be told.
   */
  took(update: Uint8Array | undefined, room: number): void;
  /** Takes in an update that goes on with typing, while the engine is at no other. Out: where it ends; undefined when it is for the engine. */
  takeTyped(update: Uint8Array): Ends | undefined;
  /** Takes over committed updates of others. Whatever goes wrong, the replica is then taken for lost and loaded again later. */
  follow(updates: readonly Uint8Array[]): Promise<void>;
  /** The replica is gone or stale. */
  unload(): void;
  /** The replica holds what was not committed: it is dropped, and what was imported into it counts no more. */
  discard(): void;
  /** Notes what an error says of the replica. */
  failed(error: unknown): void;
}

/** In: the state of its document, which is told what becomes of the replica. */
export function createEngineReplica(id: string, engine: DocumentEngine, open: Machine<State, Event>): EngineReplica {
  let declared = "";
  let loadMs = 0;
  let typing: Typing | undefined;
  let room = 0;
  /** Taken in here, and not sent to the thread. */
  let typed: Uint8Array[] = [];

  const isLoaded = () => open.state.replica === "loaded";

  function forgetTyping(): void {
    typing = undefined;
    // A replica is loaded again when all that was taken in is committed, or given up.
    typed = [];
  }

  function unload(): void {
    forgetTyping();
    open.tell({ is: "replica lost" });
  }

  function failed(error: unknown): void {
    const detail = (error as { detail?: { dropped?: unknown; reason?: unknown } } | null)?.detail;
    if (isLost(error) || detail?.dropped === true) unload();
  }

  /** Calls of one document are answered in order: what comes behind this finds all of it in the replica, or no replica. */
  function sendTyped(): void {
    if (typed.length === 0) return;
    const sent = typed;
    const sentWith = open.state.generation;
    typed = [];
    engine.call(id, "importChecked", [id, sent]).catch(() => {
      if (sentWith === open.state.generation) unload();
    });
  }

  const call: EngineReplica["call"] = (method, args, options) => {
    sendTyped();
    if (changes.has(method)) typing = undefined;
    const all = [id, ...args] as unknown as Parameters<DocumentThreadApi[typeof method]>;
    return engine.call(id, method, all, options);
  };

  return {
    get loadMs() {
      return loadMs;
    },
    async load(stored) {
      unload();
      const updates = stored.updates.map((update) => update.payload);
      for (let attempt = 1; ; attempt++) {
        try {
          const { schema, snapshot, ended, projectionBytes } = stored;
          await engine.call(id, "load", [id, schema, snapshot, updates, ended, projectionBytes], {
            spent: (ms) => {
              loadMs = ms;
            },
          });
          declared = JSON.stringify(stored.schema.fields);
          open.tell({ is: "replica loaded" });
          return;
        } catch (error) {
          if (!(error instanceof EngineLost) || attempt === innocentAttempts) throw error;
        }
      }
    },
    differs: (fields) => JSON.stringify(fields) !== declared,
    call,
    took(update, left) {
      typing = isLoaded() && update ? typingAfter(update) : undefined;
      room = left;
    },
    takeTyped(update) {
      const next = isLoaded() && typing && update.byteLength <= room ? goesOn(typing, update) : undefined;
      if (!next) return undefined;
      typing = next;
      room -= update.byteLength;
      typed.push(update);
      if (typed.length >= maxTyped) sendTyped();
      return { [next.peer]: next.end };
    },
    async follow(updates) {
      if (!isLoaded() || updates.length === 0) return;
      try {
        await call("import", [updates]);
      } catch {
        unload();
      }
    },
    unload,
    discard() {
      forgetTyping();
      open.tell({ is: "replica discarded" });
      // A loaded replica replaces this one in any case; dropping it now only saves memory, so a failure does not matter.
      void engine.call(id, "drop", [id]).catch(() => undefined);
    },
    failed,
  };
}
