/** What of a message that a row is there is the same for all rows of a table, as JSON text: perch.message_frame says which part is which. */
export interface MessageFrame {
  readonly opening: string;
  readonly keys: readonly number[];
  readonly names: readonly string[];
  readonly ending: string;
}

const [quote, comma, slash, backslash, open, close, space] = [0x22, 0x2c, 0x2f, 0x5c, 0x7b, 0x7d, 0x20];
/** How much longer a control character is as \u0000. */
const controlBytes = 5;
/**
 * Messages that rows are there, as a list in JSON. In: rows as Postgres writes arrays of their columns, one behind the other
 * (`{1,"two words",NULL}`); messages that stand behind theirs; how many bytes several rows may become. Out: undefined where they are more.
 *
 * Why bytes are copied, and no value is made of them. Postgres puts a backslash before quotes and backslashes, and quotes around whatever has one
 * of these, a comma, a brace or white space in it, is empty, or is the word NULL. So what it has within quotes is what JSON has within
 * quotes, but for control characters, and so is what it has without; or that is NULL. Of UTF-8 nothing beyond ASCII has such a byte in it.
 */
export function rowMessages(
  texts: readonly string[],
  { opening, keys, names, ending }: MessageFrame,
  others: readonly string[],
  limit: number,
): Buffer | undefined {
  const start = piece(opening);
  const [beforeKey, behindKey, behindValue, nothing] = [piece('/\\"'), piece('\\"'), piece('"'), piece("null")];
  const before = names.map((name, nth) => piece(`${nth === 0 ? '","value":{' : ","}${name}:"`));
  const end = piece(`}${ending},`);
  const all = piece(`${others.join(",")}]`);
  const around = [start, end, ...before].reduce((bytes, { length }) => bytes + length, 4 * names.length);
  const row = { from: new Int32Array(names.length), to: new Int32Array(names.length), controls: 0 };
  const { from, to } = row;
  const out = new Bytes();
  out.add(piece("["));
  let left = texts.reduce((count, { length }) => count + length, 0);
  for (const text of texts) {
    const source = piece(text);
    for (let at = 0; at < source.length; ) {
      const next = readRow(source, at, row);
      let needed = around + next - at + row.controls * controlBytes;
      for (const nth of keys) needed += 5 + ((to[nth] as number) - (from[nth] as number)) * (2 + controlBytes);
      const isFirst = out.length === 1;
      if (!isFirst && out.length + needed > limit) return undefined;
      // As the first row is, so are others; where these are longer, by a quarter each time.
      out.makeRoom(needed, isFirst ? Math.min(limit, (1.1 * needed * left) / (next - at)) : out.length / 4);
      at = next;
      out.add(start);
      for (const nth of keys) {
        out.add(beforeKey);
        out.escape(source, from[nth] as number, to[nth] as number, true);
        out.add(behindKey);
      }
      for (let nth = 0; nth < from.length; nth += 1) {
        const first = from[nth] as number;
        out.add(before[nth] as Piece);
        if (first < 0) {
          out.length -= 1;
          out.add(nothing);
          continue;
        }
        if (row.controls > 0) out.escape(source, first, to[nth] as number, false);
        else out.addPart(source, first, to[nth] as number);
        out.add(behindValue);
      }
      out.add(end);
    }
    left -= text.length;
  }
  if (others.length === 0 && out.length > 1) out.length -= 1;
  out.makeRoom(all.length, 0);
  out.add(all);
  return out.taken();
}

/** Text as bytes that are read, and written, four at a time: there is something behind the last. */
interface Piece {
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly length: number;
}

const word = 4;

function room(length: number): Piece {
  const bytes = Buffer.allocUnsafeSlow(length + word);
  return { bytes, view: new DataView(bytes.buffer), length };
}

function piece(text: string): Piece {
  const made = room(Buffer.byteLength(text));
  made.bytes.write(text);
  return made;
}

/** Finds where the columns of a row begin (-1: it is null) and end, and how many control characters are in them. Out: where the next row begins. */
function readRow(
  { bytes, length }: Piece,
  start: number,
  row: { from: Int32Array; to: Int32Array; controls: number },
): number {
  const { from, to } = row;
  const wrong = () => new Error("a row is no text of an array");
  if (bytes[start] !== open) throw wrong();
  row.controls = 0;
  let at = start + 1;
  for (let nth = 0; nth < from.length; nth += 1) {
    const isQuoted = bytes[at] === quote;
    if (isQuoted) at += 1;
    const first = at;
    for (let byte = bytes[at] as number; at < length; byte = bytes[++at] as number) {
      if (byte < space) row.controls += 1;
      else if (isQuoted) {
        if (byte === quote) break;
        if (byte === backslash) at += 1;
      } else if (byte === comma || byte === close) break;
    }
    if (at >= length) throw wrong();
    const isNull = !isQuoted && bytes[first] === 0x4e && bytes.toString("latin1", first, at) === "NULL";
    from[nth] = isNull ? -1 : first;
    to[nth] = at;
    at += isQuoted ? 2 : 1;
  }
  return at;
}

/** Bytes that become more. What is written too much, of four at a time, is overwritten by what comes next. */
class Bytes {
  length = 0;
  #room = room(word);

  /** For so many more at least, and for more where all has to be moved. */
  makeRoom(needed: number, more: number): void {
    const { bytes, length } = this.#room;
    if (this.length + needed <= length) return;
    this.#room = room(this.length + Math.ceil(Math.max(needed, more)));
    bytes.copy(this.#room.bytes, 0, 0, this.length);
  }

  add({ view: source, length }: Piece): void {
    const { view } = this.#room;
    const start = this.length;
    for (let at = 0; at < length; at += word) view.setUint32(start + at, source.getUint32(at, true), true);
    this.length = start + length;
  }

  addPart({ view: source }: Piece, from: number, to: number): void {
    const { view } = this.#room;
    const start = this.length - from;
    for (let at = from; at < to; at += word) view.setUint32(start + at, source.getUint32(at, true), true);
    this.length = start + to;
  }

  /** With control characters as JSON has them, and slashes twice where that is said. */
  escape({ bytes: source }: Piece, from: number, to: number, slashes: boolean): void {
    const { bytes } = this.#room;
    for (let at = from; at < to; at += 1) {
      const byte = source[at] as number;
      if (byte < space) {
        this.length += bytes.write(JSON.stringify(String.fromCharCode(byte)).slice(1, -1), this.length, "latin1");
        continue;
      }
      bytes[this.length++] = byte;
      if (slashes && byte === slash) bytes[this.length++] = slash;
    }
  }

  taken(): Buffer {
    return this.#room.bytes.subarray(0, this.length);
  }
}
