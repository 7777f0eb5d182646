import { type Decimal, decimalOf } from "./decimal.js";
import { newId } from "./ids.js";

/** How texts become values and back. */
export interface Json {
  parse(text: string): unknown;
  stringify(value: unknown): string;
}

/** Begins the strings that stand for such numbers while JSON.parse and JSON.stringify are at work. Nobody who sends text can know it. */
const mark = `\u{f8ff}${newId()}:`;
const marked = new RegExp(`"${mark}([^"]*)"`, "g");
/** Strings, to be passed over, and numbers. */
const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/gs;
/** Every number of up to fifteen digits comes through a double as it was. */
const short = /^-?[\d.]{1,15}$/;

/** A number that a double cannot hold (`9007199254740993`, `1e400`), as its text. It is sent as the number that it is. */
export class ExactNumber {
  constructor(readonly text: string) {}
  /** As it was sent. */
  toString(): string {
    return this.text;
  }
  /** The nearest double. */
  valueOf(): number {
    return Number(this.text);
  }
}

const isSame = (a: Decimal, b: Decimal) =>
  a.negative === b.negative && a.digits === b.digits && a.exponent === b.exponent;

function survives(text: string): boolean {
  if (short.test(text)) return true;
  const double = Number(text);
  return Number.isFinite(double) && isSame(decimalOf(text), decimalOf(String(double)));
}

/**
 * JSON whose numbers keep all their digits: what a double holds is a number as always, anything else an `ExactNumber`. For
 * `createPerchClient({ json: exactJson })`.
 */
export const exactJson: Json = {
  parse(text) {
    let found = false;
    const kept = text.replace(tokens, (token) => {
      if (token.startsWith('"') || survives(token)) return token;
      found = true;
      return `"${mark}${token}"`;
    });
    if (!found) return JSON.parse(text);
    return JSON.parse(kept, (_name, value) =>
      typeof value === "string" && value.startsWith(mark) ? new ExactNumber(value.slice(mark.length)) : value,
    );
  },
  stringify: (value) =>
    JSON.stringify(value, (_name, part) => (part instanceof ExactNumber ? mark + part.text : part)).replace(
      marked,
      "$1",
    ),
};
