import { unreadableJson } from "../database/errors.js";
import { canBeStored } from "../database/text.js";
import { PerchError } from "../errors.js";
import { type Identity, personalSpaceId } from "../identity/identity.js";
import { jsonDepth, jsonMembers, someOutsideStrings, writtenOut } from "../lib/json-outline.js";
import type { OnBehalf } from "./on-behalf.js";

/** A number that is a few characters as it is sent, and many as it is stored: exponents of three digits and more. */
const shortAndLarge = /\d[eE][+-]?0*[1-9]\d\d/;
/** Over what perch.check_numbers takes; what is below, that judges. */
const farTooLarge = /\d[eE][+-]?0*[1-9]\d{3}/;
/** What the numbers of a body may come to as they are stored and read, without exponents; as much as a record may be at most. */
const maxWrittenOut = 16 * 1024 * 1024;
/** To look for an id in a change, and for what is wrong in a body. */
const maxMembers = 1_000;
const maxIdLength = 2_000;
/** To find those at fault among the changes of a push. */
const maxChanges = 20_000;
/** What is parsed to tell half a character from what is no JSON at all. */
const maxParsed = 64 * 1024;

const reasons: Readonly<Record<string, string>> = {
  [unreadableJson.nul]: "the character NUL (\\u0000), which cannot be stored",
  [unreadableJson.halfCharacter]: "half a character (a surrogate without the other of its pair)",
  [unreadableJson.number]: "a number that programs do not exchange (up to 1.8e308, of at most 1,000 digits)",
  [unreadableJson.depth]: "values that are nested too deeply",
};
const otherReason = "what the database cannot read";

/** Far more than perch takes anywhere, and far less than ends the stack of Postgres, or of the embedded one, which does not outlive it. */
const maxDepth = 1_000;

/**
 * Whether a body had better be looked at part by part before the database reads it. Errors: PE413 where its numbers, written out, are far
 * longer than it: what is six bytes as it is sent (1e307) is 308 digits to the database, each time that it makes text of it.
 */
export async function isSuspicious(body: string): Promise<boolean> {
  if (!shortAndLarge.test(body)) return isTooDeep(body);
  const got = await writtenOut(body);
  if (got > maxWrittenOut)
    throw new PerchError("PE413", `the numbers of the body are ${got} digits without their exponents`, {
      limit: "written_out_bytes",
      max: maxWrittenOut,
      got,
    });
  return true;
}

const isTooDeep = async (text: string) => text.length > maxDepth && (await jsonDepth(text)) > maxDepth;
const isFarTooLarge = async (text: string) =>
  farTooLarge.test(text) && (await someOutsideStrings(text, (part) => farTooLarge.test(part)));

/** The SQLSTATE that reading each text as JSON fails with; null for what the database reads. */
async function stateOfEach(
  onBehalf: OnBehalf,
  identity: Identity,
  texts: readonly string[],
): Promise<(string | null)[]> {
  const states: (string | null)[] = [];
  const { number, depth } = unreadableJson;
  for (const text of texts) states.push((await isFarTooLarge(text)) ? number : (await isTooDeep(text)) ? depth : null);
  const unknown = texts.filter((_, nth) => states[nth] === null);
  const rows = await onBehalf.read(identity, (tx) =>
    tx.last<{ state: string | null }>("select state from perch.json_errors(texts => $1::text[])", [unknown]),
  );
  let nth = 0;
  return states.map((state) => state ?? rows[nth++]?.state ?? null);
}

function reasonOf(state: string, text: string): string {
  if (state === unreadableJson.halfCharacter && text.length <= maxParsed) {
    try {
      JSON.parse(text);
    } catch {
      throw new PerchError("PE422", "the body is not JSON");
    }
  }
  return reasons[state] ?? otherReason;
}

/** The members of JSON text: of those with one name the last counts, as for the database. Undefined when it is no object or array. */
async function textsOf(json: string, max = maxMembers): Promise<Map<string, string> | undefined> {
  const members = await jsonMembers(json, max);
  return members && new Map(members.map(({ name, start, end }, nth) => [name ?? `${nth}`, json.slice(start, end)]));
}

/**
 * Looks for what in a body the database cannot read. Throws PE422 naming the argument, and in an object its member; nothing where the
 * database reads all of it.
 */
export async function refuseUnreadable(onBehalf: OnBehalf, identity: Identity, body: string): Promise<void> {
  const path: string[] = [];
  let state: string | undefined;
  for (let text: string | undefined = body; text !== undefined && path.length < 2; ) {
    const members = await textsOf(text);
    if (members === undefined) break;
    const names = [...members.keys()];
    const states = await stateOfEach(onBehalf, identity, [...members.values()]);
    const at = states.findIndex((each) => each !== null);
    const name = names[at];
    if (name === undefined) break;
    path.push(name.slice(0, 100));
    text = members.get(name);
    state = states[at] ?? undefined;
    if (state !== undefined && text !== undefined) reasonOf(state, text);
  }
  if (state !== undefined) throw unreadable(path, state);
}

function unreadable([argument, field]: readonly string[], state: string): PerchError {
  const named = field === undefined ? argument : `${argument}.${field}`;
  return new PerchError("PE422", `${named} holds ${reasons[state] ?? otherReason}`, {
    argument,
    ...(field !== undefined && { field }),
    reason: state,
  });
}

/** In: what a body or a query says. Errors: PE422 for a text that cannot be stored, by itself or in a list, naming it. */
export function requireTexts(given: object): void {
  for (const [name, value] of Object.entries(given)) {
    for (const [nth, text] of Array.isArray(value) ? value.entries() : [[undefined, value] as const]) {
      if (typeof text !== "string" || canBeStored(text)) continue;
      const state = text.includes("\0") ? unreadableJson.nul : unreadableJson.halfCharacter;
      throw unreadable(nth === undefined ? [name] : [name, String(nth)], state);
    }
  }
}

/** In: an argument that is JSON, parsed. Errors: PE422 where there is a text in it that cannot be stored. */
export function requireStorableJson(argument: string, value: unknown): void {
  // Of all characters JSON.stringify escapes these, as it escapes a backslash: by another.
  const [, , code] = /(?<!\\)(\\\\)*\\u(0000|d[89a-f])/.exec(JSON.stringify(value)) ?? [];
  if (code !== undefined)
    throw unreadable([argument], code === "0000" ? unreadableJson.nul : unreadableJson.halfCharacter);
}

/** A string among the members of a change; null when there is none. */
function idIn(members: ReadonlyMap<string, string> | undefined, name: string): string | null {
  const text = members?.get(name) ?? "null";
  if (text.length > maxIdLength) return null;
  const value: unknown = JSON.parse(text);
  return typeof value === "string" ? value : null;
}

async function result(text: string, identity: Identity, error: object): Promise<string> {
  const members = text.startsWith("{") ? await textsOf(text) : undefined;
  const op_id = idIn(members, "op_id");
  const space_id = idIn(members, "space_id") ?? personalSpaceId(identity.userId);
  return JSON.stringify({ op_id, status: "rejected", space_id, seq: null, error });
}

const rejected = (text: string, state: string, identity: Identity) =>
  result(text, identity, {
    code: "PE422",
    message: `invalid: the change holds ${reasonOf(state, text)}`,
    detail: { argument: "change", reason: state },
    hint: "Take that out of the change, and push it again.",
  });

/** In: where in its push the change is that was refused. */
const aborted = (text: string, at: number, identity: Identity) =>
  result(text, identity, {
    code: "PE409",
    message: "conflict: aborted, since another change of this atomic push was rejected",
    detail: { reason: "aborted", at },
    hint: "Mend or leave out the change that was rejected, and push the others again as they are.",
  });

/**
 * A push some of whose changes the database cannot read: each of these is rejected alone, the others are pushed, or none where all or none
 * are to apply. Values stay text, since JavaScript would round them.
 * In: the JSON text of the body, and what pushes changes (a JSON array) and answers as perch.push. Out: JSON text of the same answer.
 */
export async function pushReadable(
  onBehalf: OnBehalf,
  identity: Identity,
  body: string,
  isAtomic: boolean,
  push: (changes: string) => Promise<string>,
): Promise<string> {
  const all = await textsOf((await textsOf(body))?.get("changes") ?? "", maxChanges);
  if (all === undefined) {
    throw new PerchError(
      "PE422",
      `changes has what the database cannot read, and is no array of at most ${maxChanges}`,
    );
  }
  const changes = [...all.values()];
  const states = await stateOfEach(onBehalf, identity, changes);
  const at = states.findIndex((state) => state !== null);
  if (isAtomic && at >= 0) {
    const refused = changes.map((text, index) => {
      const state = states[index] ?? null;
      return state === null ? aborted(text, at, identity) : rejected(text, state, identity);
    });
    return `{"results": [${(await Promise.all(refused)).join(", ")}]}`;
  }
  const pushed = await push(`[${changes.filter((_, nth) => states[nth] === null).join(",")}]`);
  const answers = await textsOf((await textsOf(pushed))?.get("results") ?? "", maxChanges);
  const taken = [...(answers?.values() ?? [])];
  const results: (string | undefined)[] = [];
  let nth = 0;
  for (const [index, text] of changes.entries()) {
    const state = states[index] ?? null;
    results.push(state === null ? taken[nth++] : await rejected(text, state, identity));
  }
  return `{"results": [${results.join(", ")}]}`;
}
