import type { DocumentKey } from "../documents/key.js";
import type { Identity } from "../identity/identity.js";
import type { Notification } from "../notifications/parse.js";
import type { AckStatus } from "../protocol/protocol.js";

/** A position of a log, and what identifies it: a database that went back gives numbers out again. */
export interface LogPosition {
  readonly seq: number;
  readonly revision: number;
}

/** Where entries are appended: the incarnation, the position that readers of this node were given, and what is to identify the next. */
export interface AppendPlace {
  readonly incarnation: number;
  readonly after: LogPosition;
  readonly revision: number;
}

/** What a kind of rooms says for itself whose content is a log: entries at positions, stored somewhere, and passed on as they are. */
export interface LogKind<Entry, Version> {
  readonly versions: {
    readonly none: Version;
    /** Out: undefined when the bytes are no version. */
    decode(bytes: Uint8Array): Version | undefined;
    /** At least one byte. */
    encode(version: Version): Uint8Array;
  };
  /** The entries of a client's batch, or what refuses it. */
  entriesOf(updates: readonly Uint8Array[]): readonly Entry[] | AckStatus;
  payloadOf(entry: Entry): Uint8Array;
  /** The updates that carry these payloads to a reader. */
  updatesOf(payloads: readonly Uint8Array[]): readonly Uint8Array[];
  /** What a reader at a version lacks. Errors: PE404 and others that refuse the join. */
  read(key: DocumentKey, version: Version): Promise<LogState<Version>>;
  /** What came behind a position. */
  readMissed(key: DocumentKey, after: LogPosition): Promise<MissedEntries>;
  /**
   * Appends in one transaction. Out: one result for each; PE410 for all where the log does not lead on from the place. Errors: nothing
   * was appended, or nobody knows.
   */
  append(key: DocumentKey, place: AppendPlace, entries: readonly Authored<Entry>[]): Promise<readonly EntryAppended[]>;
  /** The positions of many, in their order. */
  positions(keys: readonly DocumentKey[]): Promise<readonly LogPosition[]>;
  /** What a notification says of a room of this kind. */
  heard?(notification: Notification): { readonly key: DocumentKey; readonly seq: number } | undefined;
}

export interface LogState<Version> {
  readonly position: LogPosition;
  /** Tells one incarnation of a document from the next: where it began. */
  readonly incarnation: number;
  readonly version: Version;
  readonly payloads: readonly Uint8Array[];
}

export interface LoggedEntry {
  readonly seq: number;
  readonly payload: Uint8Array;
}

export interface MissedEntries extends Pick<LogState<unknown>, "position" | "incarnation"> {
  readonly entries: readonly LoggedEntry[];
  /** Whether they go on from where was asked: false when the database went back, null when that cannot be told any more. */
  readonly leadsOn: boolean | null;
}

export interface Authored<Entry> {
  readonly entry: Entry;
  readonly author: Identity;
}

/** What became of an entry: its position; undefined when there was nothing new in it; or the code of its refusal. */
export type EntryAppended = { readonly seq: number | undefined } | { readonly refused: string };
