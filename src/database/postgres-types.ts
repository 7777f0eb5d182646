import pg from "pg";

/** Bytes with an ArrayBuffer of their own (not a window into a shared pool), so that they can be handed to another thread. */
function parseBytes(hex: string): Uint8Array {
  const bytes = Buffer.allocUnsafeSlow((hex.length - 2) / 2);
  bytes.write(hex.slice(2), "hex");
  return new Uint8Array(bytes.buffer);
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
  if (!value.startsWith('{"') || value.includes("NULL")) return parseAnyBytesArray(value);
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
