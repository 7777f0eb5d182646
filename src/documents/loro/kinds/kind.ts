import type { ContainerType, LoroDoc } from "loro-crdt";
import type { Json } from "../json.js";
import type { ReconcileOptions } from "../reconcile.js";

/** What a value of a patch is checked with. */
export interface Checking {
  readonly schema: { readonly table: string };
  /** The field, for error messages. */
  readonly field: string;
  readonly maxDepth: number;
  /** A copy that is JSON and nothing else. Errors: PE413, PE422. */
  json(value: unknown): Json;
}

interface Kind {
  /** What a patch must give, for error messages. */
  readonly expected: string;
  /** In: what a patch gives a field, not null. Out: it as it is written; undefined where it does not fit. Errors: PE413, PE422. */
  accept(value: unknown, checking: Checking): Json | undefined;
}

/** A kind whose fields are keys of the root map of scalars: the last writer of a key wins. */
export interface ScalarKind extends Kind {
  /** Whether what a Loro client wrote, not null, may stand in a field. */
  fits(value: unknown): boolean;
  /** What stands in a field as JSON of the projection. */
  read(value: unknown): Json;
}

/** A kind whose fields are root containers of their own, and merge inside. */
export interface ContainerKind extends Kind {
  /** Of the root container. */
  readonly type: ContainerType;
  /** Its projection once something was written, and nothing is in it. */
  readonly empty: Json;
  read(doc: LoroDoc, name: string): Json;
  /** Brings the container to what `accept` gave, by as few operations as it takes. */
  write(doc: LoroDoc, name: string, value: Json, options: ReconcileOptions): void;
  /** Empties the container; as `write` with the empty value where it is left out. */
  clear?(doc: LoroDoc, name: string): void;
  /** What a patch must give to lead from one projection to another, not null; the other one where it is left out. */
  difference?(from: Json, to: Json): Json;
  /** After Loro has set the container back to what it was in `past`: puts right what that leaves undone. */
  restore?(doc: LoroDoc, past: LoroDoc, name: string): void;
}
