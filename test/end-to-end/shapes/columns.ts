/**
 * The types of columns that a random table may have: what values there may be, as literals of SQL, and what a filter may ask of them. A negative
 * zero is not among them: in the log it is a zero, since JSON has no other.
 */
export interface Kind {
  readonly type: string;
  readonly values: readonly string[];
  /** Conditions over a column, $C. */
  readonly filters: readonly string[];
  /** May be of a primary key. */
  readonly key?: boolean;
}

const quoted = (...values: string[]) => values.map((value) => `'${value.replaceAll("'", "''")}'`);
const texts = quoted("", "a", "ab", "B", "Ä", "it's", "a/b", '"q"', "back\\slash", "💡", "NULL", "b%", " pad ", "{1}");

export const kinds: readonly Kind[] = [
  {
    type: "int",
    values: ["-3", "0", "1", "2", "3", "7"],
    filters: ["$C > 1", "$C % 2 = 0", "$C in (1, 2, 3)"],
    key: true,
  },
  { type: "smallint", values: ["-1", "0", "5"], filters: ["$C between 0 and 5", "not ($C = 5)"], key: true },
  {
    type: "bigint",
    values: ["1", "9007199254740992", "9007199254740993", "-9223372036854775808"],
    filters: ["$C > 9007199254740992", "$C <> 1"],
    key: true,
  },
  {
    type: "numeric",
    values: ["1.50", "1.5", "0.1", "'NaN'", "1e20", "-0.000001"],
    filters: ["$C >= 1.5", "round($C) = 2", "$C::text like '1%'"],
  },
  { type: "numeric(6,2)", values: ["1.5", "2.25", "-1"], filters: ["$C < 2", "abs($C) > 1"], key: true },
  { type: "float8", values: ["'NaN'", "'Infinity'", "0.1", "1e-7", "-2.5"], filters: ["$C < 1", "$C = 0"] },
  { type: "real", values: ["0.1", "3.4e38", "1"], filters: ["$C > 0.5"] },
  {
    type: "text",
    values: [...texts, "E'a\\nb'", "E'\\t'", "E'\\x01'"],
    filters: ["$C like 'a%'", "lower($C) = 'b'", "$C > 'a'", "length($C) > 2", "$C || 'x' = 'abx'", "$C ~ '^[ab]'"],
    key: true,
  },
  {
    type: "varchar(5)",
    values: quoted("a", "bb", "ccccc"),
    filters: ["$C in ('a', 'bb')", "$C ilike 'C%'"],
    key: true,
  },
  { type: "char(4)", values: quoted("a", "ab", "abcd"), filters: ["$C = 'ab'"], key: true },
  { type: "boolean", values: ["true", "false"], filters: ["$C", "not $C", "$C is not true"], key: true },
  {
    type: "date",
    values: quoted("2024-02-29", "1999-12-31", "infinity", "0001-01-01 BC"),
    filters: ["$C >= '2000-01-01'", "$C = '2024-02-29'"],
    key: true,
  },
  {
    type: "timestamptz",
    values: quoted("2024-02-29 12:00:00.123456+02", "1999-12-31 23:59:59Z", "-infinity"),
    filters: ["$C > '2000-01-01Z'", "extract(year from $C) = 2024"],
    key: true,
  },
  { type: "timestamp(3)", values: quoted("2024-02-29 12:00:00.1239", "1999-12-31"), filters: ["$C < '2000-01-01'"] },
  { type: "time", values: quoted("12:30", "00:00:00.5"), filters: ["$C > '01:00'"] },
  { type: "interval", values: quoted("1 day", "-2 hours 3 seconds", "1 year 2 months"), filters: ["$C > '1 hour'"] },
  {
    type: "uuid",
    values: quoted("00000000-0000-4000-8000-000000000001", "ffffffff-ffff-4fff-bfff-fffffffffffe"),
    filters: ["$C = '00000000-0000-4000-8000-000000000001'"],
    key: true,
  },
  {
    type: "jsonb",
    values: quoted("1", '{"a": 1}', '{"a": {"b": [1, null]}}', '"s"', "[]", '[1, "a/b"]', "true", "1.10"),
    filters: ["$C ->> 'a' is not null", `$C @> '{"a": 1}'`, "jsonb_typeof($C) = 'array'", "$C ? 'a'"],
  },
  {
    type: "int[]",
    values: quoted("{}", "{1,2}", "{NULL,3}", "{{1,2},{3,4}}"),
    filters: ["1 = any ($C)", "$C && '{2,3}'", "cardinality($C) = 2", "$C[1] = 1"],
  },
  {
    type: "text[]",
    values: quoted("{}", '{a,"b c"}', '{NULL,"NULL","q\\"q",""}'),
    filters: ["'a' = any ($C)", "$C @> '{a}'"],
  },
  { type: "bytea", values: quoted("\\x", "\\x00ff", "\\x5c"), filters: ["$C > '\\x00'"] },
  {
    type: "mood",
    values: quoted("sad", "so so", "happy"),
    filters: ["$C > 'sad'", "$C in ('sad', 'happy')"],
    key: true,
  },
  { type: "positive", values: ["1", "2", "99"], filters: ["$C > 1"], key: true },
  { type: "mood[]", values: quoted("{sad}", '{happy,"so so"}'), filters: ["'sad' = any ($C)"] },
  { type: "int4range", values: quoted("[1,5)", "empty", "(,3]"), filters: ["$C @> 2", "$C && '[4,9)'"] },
  { type: "inet", values: quoted("10.0.0.1", "10.0.0.0/8", "::1"), filters: ["$C is not null"] },
  { type: "bit(3)", values: ["b'101'", "b'000'"], filters: ["$C is not null"] },
];

/** Types of the world's own, in its schema. */
export const ownTypes = `
  create type mood as enum ('sad', 'so so', 'happy');
  create domain positive as int check (value > 0);`;
