import pg from "pg";

/**
 * Bytes with an ArrayBuffer of their own (not a window into a shared pool), so that they can be handed to another thread. Both forms of
 * `bytea_output` are read: a setting decides which comes. The memory is cleared first: should a text be of neither, what it leaves
 * unwritten must not be what this process had there.
 */
function parseBytes(text: string): Uint8Array {
  if (!text.startsWith("\\x")) return parseEscapedBytes(text);
  const bytes = new Uint8Array((text.length - 2) >> 1);
  const written = Buffer.from(bytes.buffer).write(text.slice(2), "hex");
  if (written !== bytes.length || text.length % 2 !== 0) throw new Error("a bytea is not hexadecimal");
  return bytes;
}

/** Printable characters as they are, a backslash twice, and everything else as a backslash and three octal digits. */
function parseEscapedBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  let length = 0;
  for (let at = 0; at < text.length; at += 1) {
    let code = text.charCodeAt(at);
    if (code === 0x5c && text[at + 1] === "\\") at += 1;
    else if (code === 0x5c) {
      code = Number.parseInt(text.slice(at + 1, at + 4), 8);
      at += 3;
    }
    bytes[length] = code;
    length += 1;
  }
  return bytes.slice(0, length);
}

type ParseText = (value: string) => unknown;

// pg ships the parser of array literals inside that of text[]; each element is then parsed on its own.
const parseTextArray = pg.types.getTypeParser(1009 as never, "text") as (value: string) => unknown[];

function arrayOf(parse: ParseText): ParseText {
  const each = (item: unknown): unknown => {
    if (item === null) return null;
    return Array.isArray(item) ? item.map(each) : parse(item as string);
  };
  return (value) => parseTextArray(value).map(each);
}

const parseAnyBytesArray = arrayOf(parseBytes);

/**
 * The tail of a document is up to thousands of small byte strings, and the general parser, which looks at each letter by itself, takes
 * longer over them than the database. As a rule it is a plain list without a null, of items such as `"\\x00ff"`.
 */
function parseBytesArray(value: string): unknown {
  if (!value.startsWith('{"\\\\x') || value.includes("NULL")) return parseAnyBytesArray(value);
  const items = value.slice(2, -2).split('","');
  return items.map((item) => parseBytes(item.slice(1)));
}

const parseAnyNumberArray = arrayOf(Number);

function parseNumberArray(value: string): unknown {
  return /^\{[-\d,]+\}$/.test(value) ? value.slice(1, -1).split(",").map(Number) : parseAnyNumberArray(value);
}

const asUtc = (value: string) => new Date(`${value.replace(" ", "T")}Z`);
const asIs = (value: string) => value;

/** Only where pg and PGlite differ: type oid → parser of the text format. */
const parsers = new Map<number, ParseText>([
  [17, parseBytes],
  [1001, parseBytesArray],
  [20, Number],
  [1016, parseNumberArray],
  [1700, asIs],
  [1231, arrayOf(asIs)],
  [1082, (value) => new Date(value)],
  [1114, asUtc],
  [1186, asIs],
  [600, asIs],
]);

/** Row types shared with PGlite, for pg's `types` option: per connection, so an app's own use of pg is not touched. */
export const rowTypes: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: "text" | "binary") => {
    const parse = format === "binary" ? undefined : parsers.get(oid);
    return parse ?? pg.types.getTypeParser(oid, format as "text");
  }) as pg.CustomTypesConfig["getTypeParser"],
};
