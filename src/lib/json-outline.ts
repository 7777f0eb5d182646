import { setImmediate } from "node:timers/promises";

/** A direct member of an object or array: where its JSON text begins and ends, and its name in an object. */
export interface JsonMember {
  readonly name: string | undefined;
  readonly start: number;
  readonly end: number;
}

/** So much is looked at in one turn of the event loop. */
const turnLength = 256 * 1024;
/** A name that is longer is no name of anything. */
const maxNameLength = 1_000;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const isOpening = (code: number) => code === 0x7b || code === 0x5b;
const isClosing = (code: number) => code === 0x7d || code === 0x5d;
const isSpace = (code: number) => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;

/**
 * Finds the direct members of a JSON object or array without reading what is in them. Parsing a few megabytes can block the process for
 * seconds, depending on what they are; this takes a time that grows with the length only, a few milliseconds at once.
 * In: JSON text, and how many members are looked for. Out: the members, in their order; undefined when the text is neither object nor
 * array, when brackets do not match up, when a name is not one, or when there are more members. That the rest is JSON is not checked.
 */
export async function jsonMembers(text: string, maxMembers: number): Promise<JsonMember[] | undefined> {
  const from = skipSpace(text, 0);
  const isObject = text[from] === "{";
  if (!isObject && text[from] !== "[") return undefined;
  const members: JsonMember[] = [];
  let depth = 0;
  let start = from + 1;
  let inString = false;
  let turnEnds = from + turnLength;

  function add(end: number): boolean {
    const member = isObject ? named(text, start, end) : trimmed(text, undefined, start, end);
    if (member === undefined || members.length === maxMembers) return false;
    members.push(member);
    return true;
  }

  for (let at = from; at < text.length; at++) {
    if (at >= turnEnds) {
      await setImmediate();
      turnEnds = at + turnLength;
    }
    if (inString) {
      at = text.indexOf('"', at);
      if (at < 0) return undefined;
      inString = isEscaped(text, at);
      continue;
    }
    const code = text.charCodeAt(at);
    if (code === quote) inString = true;
    else if (isOpening(code)) depth += 1;
    else if (code === comma && depth === 1) {
      if (!add(at)) return undefined;
      start = at + 1;
    } else if (isClosing(code)) {
      depth -= 1;
      if (depth > 0) continue;
      const rest = skipSpace(text, at + 1);
      const isEmpty = members.length === 0 && skipSpace(text, start) === at;
      return rest === text.length && (isEmpty || add(at)) ? members : undefined;
    }
  }
  return undefined;
}

/** How deeply the values of JSON text are nested. Takes a few milliseconds at once, as `jsonMembers`. */
export async function jsonDepth(text: string): Promise<number> {
  let depth = 0;
  let deepest = 0;
  let turnEnds = turnLength;
  for (let at = 0; at < text.length; at++) {
    if (at >= turnEnds) {
      await setImmediate();
      turnEnds = at + turnLength;
    }
    const code = text.charCodeAt(at);
    if (code === quote) {
      do {
        at = text.indexOf('"', at + 1);
        if (at >= turnEnds) {
          await setImmediate();
          turnEnds = at + turnLength;
        }
      } while (at >= 0 && isEscaped(text, at));
      if (at < 0) break;
    } else if (isOpening(code)) deepest = Math.max(deepest, ++depth);
    else if (isClosing(code)) depth -= 1;
  }
  return deepest;
}

/** Whether a part of JSON text that is in no string is one that is looked for. Takes a few milliseconds at once, as `jsonMembers`. */
export async function someOutsideStrings(text: string, isOne: (part: string) => boolean): Promise<boolean> {
  let turnEnds = turnLength;
  for (let at = 0; at >= 0; ) {
    const opening = text.indexOf('"', at);
    if (isOne(text.slice(at, opening < 0 ? undefined : opening))) return true;
    if (opening < 0) return false;
    at = opening;
    do {
      at = text.indexOf('"', at + 1);
      if (at >= turnEnds) {
        await setImmediate();
        turnEnds = at + turnLength;
      }
    } while (at >= 0 && isEscaped(text, at));
    if (at >= 0) at += 1;
  }
  return false;
}

const isDigit = (code: number) => code >= 0x30 && code <= 0x39;
/** With larger exponents no number is taken. */
const maxExponent = 999;

/**
 * How many digits the exponents of JSON text stand for, all together: what its numbers are longer when they are written without. Those with
 * which no number is taken do not count. Takes a few milliseconds at once, as `jsonMembers`.
 */
export async function writtenOut(text: string): Promise<number> {
  let digits = 0;
  let turnEnds = turnLength;
  for (let at = 0; at < text.length; at++) {
    if (at >= turnEnds) {
      await setImmediate();
      turnEnds = at + turnLength;
    }
    const code = text.charCodeAt(at);
    if (code === quote) {
      do {
        at = text.indexOf('"', at + 1);
        if (at >= turnEnds) {
          await setImmediate();
          turnEnds = at + turnLength;
        }
      } while (at >= 0 && isEscaped(text, at));
      if (at < 0) break;
    } else if ((code === 0x65 || code === 0x45) && isDigit(text.charCodeAt(at - 1))) {
      const isSigned = text[at + 1] === "-" || text[at + 1] === "+";
      let exponent = 0;
      for (at += isSigned ? 2 : 1; isDigit(text.charCodeAt(at)); at++)
        exponent = Math.min(maxExponent + 1, exponent * 10 + text.charCodeAt(at) - 0x30);
      if (exponent <= maxExponent) digits += exponent;
      at -= 1;
    }
  }
  return digits;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (isSpace(text.charCodeAt(at))) at++;
  return at;
}

/** In: where a name begins. Out: where its last quote is; the end of the text, when it is too long for a name. */
function endOfName(text: string, from: number): number {
  const limit = from + maxNameLength;
  for (let at = text.indexOf('"', from + 1); at >= 0 && at < limit; at = text.indexOf('"', at + 1)) {
    if (!isEscaped(text, at)) return at;
  }
  return text.length;
}

/** Whether a quote within a string belongs to it. */
function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(at - 1 - backslashes) === backslash) backslashes++;
  return backslashes % 2 === 1;
}

function trimmed(text: string, name: string | undefined, from: number, to: number): JsonMember | undefined {
  const start = skipSpace(text, from);
  let end = to;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return start < end ? { name, start, end } : undefined;
}

function named(text: string, from: number, to: number): JsonMember | undefined {
  const start = skipSpace(text, from);
  if (text.charCodeAt(start) !== quote) return undefined;
  const end = endOfName(text, start) + 1;
  const colon = skipSpace(text, end);
  if (text[colon] !== ":") return undefined;
  try {
    return trimmed(text, JSON.parse(text.slice(start, end)) as string, colon + 1, to);
  } catch {
    return undefined;
  }
}
