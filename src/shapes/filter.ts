import { PerchError } from "../errors.js";
import { castOf, constantOf } from "./constants.js";
import { refuseDear } from "./cost.js";
import type { Fields, FilterNode } from "./tree.js";

/** A node of Postgres' parse tree: one member, named by its type. */
type Parsed = Readonly<Record<string, Fields>>;
/**
 * What a filter may be as text: the parser runs in this thread, for up to 8 ms a thousand characters. Long lists are parameters. The tree that
 * is made of it is bounded by the database again.
 */
const maxLength = 5_000;
/** As the database has it. */
const maxDepth = 60;
/** Parts of the tree, counted as often as they stand there: BETWEEN and CASE say some of theirs again, which say some of theirs again. */
const maxParts = 10_000;
/** As the database has it; of the values, which are named as often as one likes, and would all be written out. */
const maxBytes = 1_000_000;

type Parser = typeof import("@libpg-query/parser");
let parser: Promise<Parser> | undefined;

/**
 * Postgres' own parser: a fifth of a second, in which this thread does nothing else. Who serves does so before anybody asks, and who only runs a command
 * never does.
 */
export function loadParser(): Promise<Parser> {
  parser ??= import("@libpg-query/parser").then(async (loaded) => {
    await loaded.loadModule();
    return loaded;
  });
  return parser;
}

const refused = (message: string, argument: string) => new PerchError("PE422", message, { argument });

/**
 * Turns what a client wrote behind `where` into the tree of a filter. Postgres' own parser reads it, so it means what it means there; here
 * each kind of node that is known becomes one of ours, and every other is refused. Whether functions, operators, types and columns may
 * be used is not decided here but where text is made of the tree again, in the database. In: the text, the values of its parameters by
 * number, what the table is called, and what to call the text in errors. Out: null when there is no filter.
 * Errors: PE413, PE422.
 */
export async function readFilter(
  text: string | undefined,
  params: Readonly<Record<string, string>>,
  tableName: string,
  argument = "where",
): Promise<FilterNode | null> {
  if (text === undefined || text.trim() === "") {
    if (Object.keys(params).length > 0) throw refused("there are params, and no filter that names them", "params");
    return null;
  }
  const [row, ...others] = await valuesOf(text, argument);
  if (row === undefined || others.length > 0) throw refused("the filter is not one expression", argument);
  const used = new Set<string>();
  const node = createReader(params, tableName, argument, used)(row);
  const unused = Object.keys(params).find((name) => !used.has(name));
  if (unused !== undefined) throw refused(`there is no $${unused} in the filter, and a value for it`, "params");
  refuseDear(node, argument);
  return node;
}

function tooLong(argument: string): PerchError {
  const message = `the filter is over ${maxBytes} bytes: a value counts as often as it is named`;
  return new PerchError("PE413", message, { argument, limit: "filter_bytes", max: maxBytes });
}

function tooLarge(argument: string): PerchError {
  const message = `it comes to more than ${maxParts} parts: what stands before BETWEEN, or behind CASE, counts each time it is compared`;
  return new PerchError("PE413", message, { argument, limit: "filter_parts", max: maxParts });
}

/** One column of an order. */
export interface OrderItem {
  readonly column: string;
  readonly descending: boolean;
  readonly nulls: "first" | "last" | null;
}

/** Reads what stands behind `order by`: columns, each with its direction. Errors: PE413, PE422. */
export async function readOrder(text: string, tableName: string, argument = "order_by"): Promise<OrderItem[]> {
  const { sortClause, ...rest } = await parsedValues(`(1) order by ${text}`, text, argument);
  if (sortClause === undefined || !isPlain(rest)) throw refused("the order is not a list of columns", argument);
  return sortClause.map(({ SortBy: item }: Fields) => {
    const [word, column] = createReader({}, tableName, argument, new Set())(item.node);
    if (word !== "column" || item.useOp !== undefined) throw refused("the order is not a list of columns", argument);
    const nulls = { SORTBY_NULLS_FIRST: "first", SORTBY_NULLS_LAST: "last" }[item.sortby_nulls as string] ?? null;
    return { column, descending: item.sortby_dir === "SORTBY_DESC", nulls };
  });
}

/**
 * What stands behind IN: columns of one other table, and a condition over it. Errors: PE422.
 */
function selectOf(statement: Fields, argument: string) {
  const { targetList, fromClause, whereClause, limitOption, op, ...rest } = statement;
  const [from, ...others] = fromClause ?? [];
  const { schemaname: schema = "public", relname: table, alias, inh, catalogname } = from?.RangeVar ?? {};
  const columns = (targetList ?? []).map(({ ResTarget: { val, name } }: Fields) => {
    const words = (val?.ColumnRef?.fields ?? []).map(({ String: word }: Fields) => word?.sval as string | undefined);
    const isOfTable = words.length === 1 || (words.length === 2 && words[0] === (alias?.aliasname ?? table));
    return name === undefined && isOfTable ? words.at(-1) : undefined;
  });
  const isPlainSelect =
    [Object.keys(rest).length, others.length].every((count) => count === 0) &&
    [limitOption === "LIMIT_OPTION_DEFAULT", op === "SETOP_NONE", table !== undefined, inh === true].every(Boolean) &&
    [catalogname, alias?.colnames].every((part) => part === undefined);
  if (!isPlainSelect || columns.length === 0 || columns.includes(undefined)) {
    throw refused("a sub-select of a filter selects columns of one table, with a condition or without", argument);
  }
  return {
    schema: schema as string,
    table: table as string,
    columns: columns as string[],
    where: whereClause,
    name: alias?.aliasname ?? table,
  };
}

/** The tables that the sub-selects of a filter are over, each once. */
export function tablesIn(node: FilterNode | null): { schema: string; table: string }[] {
  const found = new Map<string, { schema: string; table: string }>();
  const walk = (part: unknown): void => {
    if (!Array.isArray(part)) return;
    if (part[0] === "select" && part.length === 6) {
      found.set(JSON.stringify([part[2], part[3]]), { schema: String(part[2]), table: String(part[3]) });
    }
    part.forEach(walk);
  };
  walk(node);
  return [...found.values()];
}

/** The columns that a filter names, but for those of tables in sub-selects. */
export function columnsIn(node: FilterNode | null): string[] {
  if (node === null) return [];
  if (node[0] === "column") return [String(node[1])];
  if (node[0] === "select") return columnsIn(node[1] as FilterNode);
  if (node[0] === "value") return [];
  return node.flatMap((part) => (Array.isArray(part) ? columnsIn(part) : []));
}

/**
 * The expressions that a text is, read as a row of VALUES. What would be more than that is none: "true) limit (1", a second row, a second
 * statement. (A comment at its end has a line of its own to end with.)
 */
async function valuesOf(text: string, argument: string): Promise<Parsed[]> {
  const values = await parsedValues(`(${text}\n)`, text, argument);
  if (!isPlain(values)) throw refused("the filter is not one expression", argument);
  return values.valuesLists[0].List.items;
}

/** One row of VALUES, and nothing else. */
const isPlain = ({ valuesLists, ...rest }: Fields) =>
  valuesLists?.length === 1 &&
  Object.keys(rest).sort().join() === "limitOption,op" &&
  rest.limitOption === "LIMIT_OPTION_DEFAULT" &&
  rest.op === "SETOP_NONE";

async function parsedValues(statement: string, text: string, argument: string): Promise<Fields> {
  if (text.length > maxLength) {
    const detail = { argument, limit: "filter_length", max: maxLength };
    throw new PerchError("PE413", `it is over ${maxLength} characters`, detail);
  }
  const { parse } = await loadParser();
  let stmts: Fields[];
  try {
    ({ stmts = [] } = (await parse(`values ${statement}`)) as { stmts?: Fields[] });
  } catch (error) {
    throw refused(`it cannot be read: ${error instanceof Error ? error.message : String(error)}`, argument);
  }
  return (stmts.length === 1 && stmts[0].stmt.SelectStmt) || {};
}

function createReader(
  params: Readonly<Record<string, string>>,
  tableName: string,
  argument: string,
  used: Set<string>,
): (node: Parsed) => FilterNode {
  const nameOf = (names: Fields[], what: string): string => {
    const words = names.map(({ String: word }) => word?.sval as string);
    // How Postgres spells what has a syntax of its own, as EXTRACT and AT TIME ZONE; nobody else's functions are there.
    if (words.length === 2 && words[0] === "pg_catalog") return words[1] as string;
    if (words.length === 1) return words[0] as string;
    throw refused(`a filter may not name ${what} of a schema: ${words.join(".")}`, argument);
  };
  const all = (nodes: Parsed[] | undefined) => (nodes ?? []).map(read);
  const list = ({ List: { items } }: Parsed): FilterNode[] => all(items);

  const readers: Readonly<Record<string, (fields: Fields) => FilterNode>> = {
    ColumnRef({ fields }) {
      const names = (fields as Fields[]).map(({ String: word }) => word?.sval as string | undefined);
      const name = names.at(-1);
      if (name === undefined) throw refused("* is no column", argument);
      if (names.length > 2 || (names.length === 2 && names[0] !== tableName)) {
        throw refused(`a filter names columns of ${tableName} alone, and not ${names.join(".")}`, argument);
      }
      return ["column", name];
    },
    ParamRef({ number }) {
      const value = params[String(number)];
      if (value === undefined) throw refused(`there is no value for $${number}`, "params");
      used.add(String(number));
      return ["value", value];
    },
    A_Const: constantOf,
    TypeCast({ arg, typeName }) {
      return castOf(read(arg), typeName, (message) => refused(message, argument));
    },
    FuncCall({ funcname, args, ...rest }) {
      const extra = Object.keys(rest).filter((key) => !["funcformat", "location"].includes(key));
      const name = nameOf(funcname, "a function");
      if (extra.length > 0) throw refused(`a filter may not call ${name} in this way (${extra[0]})`, argument);
      if (name === "now" || args === undefined) throw refused(`a filter may not use ${name}()`, argument);
      // The protocol has it as a function; in Postgres it is an operator alone.
      if (name === "ilike" && args.length === 2) return ["op", "~~*", all(args)];
      return ["call", name, all(args)];
    },
    BoolExpr: ({ boolop, args }) =>
      boolop === "NOT_EXPR" ? ["not", read(args[0])] : [boolop === "AND_EXPR" ? "and" : "or", all(args)],
    NullTest: ({ arg, nulltesttype }) => ["is", nulltesttype === "IS_NULL" ? "null" : "not null", read(arg)],
    BooleanTest: ({ arg, booltesttype }) => ["is", booltesttype.slice(3).toLowerCase().replace("_", " "), read(arg)],
    CoalesceExpr: ({ args }) => ["coalesce", all(args)],
    MinMaxExpr: ({ op, args }) => [op === "IS_GREATEST" ? "greatest" : "least", all(args)],
    A_ArrayExpr: ({ elements }) => ["array", all(elements)],
    CaseExpr({ arg, args, defresult }) {
      const value = arg === undefined ? undefined : read(arg);
      const branches = (args as Fields[]).map(({ CaseWhen: { expr, result } }) => [
        value === undefined ? read(expr) : ["op", "=", [value, read(expr)]],
        read(result),
      ]);
      return ["case", branches, defresult === undefined ? null : read(defresult)];
    },
    A_Indirection({ arg, indirection }) {
      if (depth + indirection.length > maxDepth) throw refused("it is nested too deeply", argument);
      return (indirection as Fields[]).reduce<FilterNode>((of, { A_Indices: at }) => {
        if (at === undefined || at.is_slice) throw refused("a filter may not take a slice, or a field", argument);
        return ["at", of, read(at.uidx)];
      }, read(arg));
    },
    SubLink({ subLinkType, testexpr, operName, subselect }) {
      if (subLinkType !== "ANY_SUBLINK" || (operName !== undefined && nameOf(operName, "an operator") !== "=")) {
        throw refused("a filter may have a sub-select behind IN alone", argument);
      }
      const { RowExpr: row } = testexpr;
      const { schema, table, columns, where, name } = selectOf(subselect.SelectStmt ?? {}, argument);
      const inner = where === undefined ? null : createReader(params, name, argument, used)(where);
      return ["select", row === undefined ? [read(testexpr)] : all(row.args), schema, table, columns, inner];
    },
    A_Expr: (fields) => expressions[fields.kind]?.(fields) ?? unknown(String(fields.kind)),
  };

  const operation = (name: string, left: Parsed | undefined, right: Parsed): FilterNode => [
    "op",
    name,
    left === undefined ? [read(right)] : [read(left), read(right)],
  ];
  const between = (symmetric: boolean, negated: boolean) => (fields: Fields) => {
    const value = read(fields.lexpr);
    const [low, high] = list(fields.rexpr) as [FilterNode, FilterNode];
    const within = (from: FilterNode, to: FilterNode): FilterNode => [
      "and",
      [
        ["op", ">=", [value, from]],
        ["op", "<=", [value, to]],
      ],
    ];
    const inside: FilterNode = symmetric ? ["or", [within(low, high), within(high, low)]] : within(low, high);
    return negated ? ["not", inside] : inside;
  };
  const byName = ({ name, lexpr, rexpr }: Fields) => operation(nameOf(name, "an operator"), lexpr, rexpr);
  const expressions: Readonly<Record<string, (fields: Fields) => FilterNode>> = {
    AEXPR_OP: byName,
    AEXPR_LIKE: byName,
    AEXPR_ILIKE: byName,
    AEXPR_SIMILAR: byName,
    AEXPR_OP_ANY: ({ name, lexpr, rexpr }) => ["any", nameOf(name, "an operator"), read(lexpr), read(rexpr)],
    AEXPR_OP_ALL: ({ name, lexpr, rexpr }) => ["all", nameOf(name, "an operator"), read(lexpr), read(rexpr)],
    AEXPR_IN({ name, lexpr, rexpr }) {
      const inside: FilterNode = ["in", read(lexpr), list(rexpr)];
      return nameOf(name, "an operator") === "<>" ? ["not", inside] : inside;
    },
    AEXPR_DISTINCT: ({ lexpr, rexpr }) => ["distinct", read(lexpr), read(rexpr)],
    AEXPR_NOT_DISTINCT: ({ lexpr, rexpr }) => ["not", ["distinct", read(lexpr), read(rexpr)]],
    AEXPR_NULLIF: ({ lexpr, rexpr }) => ["nullif", read(lexpr), read(rexpr)],
    AEXPR_BETWEEN: between(false, false),
    AEXPR_NOT_BETWEEN: between(false, true),
    AEXPR_BETWEEN_SYM: between(true, false),
    AEXPR_NOT_BETWEEN_SYM: between(true, true),
  };

  function unknown(kind: string): never {
    throw refused(`a filter may not have this: ${kind}`, argument);
  }

  /** Parts, and what is in their values at least. */
  const sizes = new WeakMap<object, readonly [parts: number, length: number]>();
  function sizeOf(part: unknown): readonly [parts: number, length: number] {
    if (!Array.isArray(part)) return [0, typeof part === "string" ? part.length : 0];
    return (
      sizes.get(part) ??
      part.map(sizeOf).reduce(([parts, length], [more, longer]) => [parts + more, length + longer], [1, 0])
    );
  }

  let depth = 0;
  function read(node: Parsed): FilterNode {
    const [kind = "nothing"] = Object.keys(node ?? {});
    const reader = Object.hasOwn(readers, kind) ? readers[kind] : undefined;
    if (reader === undefined) return unknown(kind);
    depth += 1;
    if (depth > maxDepth) throw refused("it is nested too deeply", argument);
    const made = reader(node[kind]);
    depth -= 1;
    const size = sizeOf(made);
    if (size[0] > maxParts) throw tooLarge(argument);
    if (size[1] > maxBytes) throw tooLong(argument);
    sizes.set(made, size);
    return made;
  }
  return read;
}
