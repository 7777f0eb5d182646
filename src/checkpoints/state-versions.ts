import type { ZodType } from "zod";
import { PerchError } from "../errors.js";
import { decoded, encoded } from "./json.js";

/** What states look like, in the version that is written and in those that are still read. */
export interface StateVersions<State> {
  /** The version that is written, and the newest that is read. */
  readonly version: number;
  /** The oldest that is read. */
  readonly minVersion: number;
  /** In: a state. Out: its JSON. PE422 when it is not as the newest schema says, or would not come back equal. */
  write(state: State): unknown;
  /**
   * In: JSON and the version it was written in. Out: the state, lifted to the newest version.
   * PE422 when the version is missing, newer or older than what is known, or the JSON is not as that version's schema says.
   */
  read(json: unknown, version: number | null): State;
}

export interface StateVersionsChain<State> extends StateVersions<State> {
  /** The next version: its schema, and how a state of the version before becomes one of this. */
  upgrade<Next>(schema: ZodType<Next>, lift: (older: State) => NoInfer<Next>): StateVersionsChain<Next>;
}

/**
 * The versions of a state, oldest first:
 *
 *     const states = stateVersions(z.object({ name: z.string() }))
 *       .upgrade(z.object({ first: z.string(), last: z.string() }), ({ name }) => ({ first: name, last: "" }));
 *
 * In: the schema of the oldest version that can still be read, and its number (1). Give up versions that are in use nowhere by
 * starting at a later one. Schemas may hold codecs (`z.codec`), but no one-way transforms: a state is written and read.
 */
export function stateVersions<State>(schema: ZodType<State>, first = 1): StateVersionsChain<State> {
  return chain(schema, first, first, (json) => decode(schema, json, first));
}

function chain<State>(
  schema: ZodType<State>,
  minVersion: number,
  version: number,
  readOwn: (json: unknown, from: number) => State,
): StateVersionsChain<State> {
  return {
    version,
    minVersion,
    write: (state) => encode(schema, state, version),
    read(json, from) {
      if (from === null || from < minVersion || from > version) {
        const what = from === null ? "has no schema version" : `has schema version ${from}`;
        throw new PerchError("PE422", `the state ${what}; ${minVersion} to ${version} can be read here`, {
          schema_version: from,
          min_version: minVersion,
          version,
        });
      }
      return readOwn(json, from);
    },
    upgrade(next, lift) {
      const to = version + 1;
      return chain(next, minVersion, to, (json, from) => {
        if (from === to) return decode(next, json, to);
        // What a lift returns is held to its schema like anything that was stored.
        return decode(next, encode(next, lift(readOwn(json, from)), to), to);
      });
    },
  };
}

const decode = <State>(schema: ZodType<State>, json: unknown, version: number): State =>
  decoded(schema, json, `the state cannot be read as version ${version}`, { schema_version: version });

const encode = <State>(schema: ZodType<State>, state: State, version: number): unknown =>
  encoded(schema, state, "state", { schema_version: version });
