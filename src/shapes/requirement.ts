import type { FilterNode } from "./tree.js";

/** A filter is true of a row only where this column has one of these values, as Postgres writes them as text. */
export interface Requirement {
  readonly column: string;
  readonly values: ReadonlySet<string>;
  /** Whether it is true of each such row. */
  readonly isAll: boolean;
}

/** Types by how their constants look when Postgres has written them: so two are equal where their texts are. */
const canonical: Readonly<Record<string, RegExp>> = {
  int2: /^(0|-?[1-9]\d{0,18})$/,
  int4: /^(0|-?[1-9]\d{0,18})$/,
  int8: /^(0|-?[1-9]\d{0,18})$/,
  uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
  bool: /^(true|false)$/,
  text: /^/,
  varchar: /^/,
};
/** As perch.changed_values has it, in bytes: longer values are not remembered. */
const maxLength = 200;
const integers = ["int2", "int4", "int8"];
const texts = ["text", "varchar"];
const likeTypes = (type: string) => [integers, texts].find((types) => types.includes(type)) ?? [type];

/**
 * What a filter asks of one column, for the many that compare one with constants ("the todos of this project"): so the values that a column has had
 * in changed rows tell at once which of thousands of filters these may be for. In: the filter; the types of columns, by name. Out: undefined
 * where it asks for nothing that is known without Postgres.
 */
export function requirementOf(
  filter: FilterNode | null,
  types: Readonly<Record<string, { readonly type: string }>>,
): Requirement | undefined {
  const [word, ...parts] = filter ?? [];
  switch (word) {
    case "and": {
      const found = (parts[0] as FilterNode[]).map((part) => requirementOf(part, types));
      const one = found.find((part) => part !== undefined);
      return one && { ...one, isAll: found.length === 1 && one.isAll };
    }
    case "or": {
      const found = (parts[0] as FilterNode[]).map((part) => requirementOf(part, types));
      const column = found[0]?.column;
      if (column === undefined || found.some((part) => part?.column !== column)) return undefined;
      const values = new Set(found.flatMap((part) => [...(part?.values ?? [])]));
      return { column, values, isAll: found.every((part) => part?.isAll === true) };
    }
    case "op": {
      const [name, [left, right] = []] = parts as [string, FilterNode[]?];
      if (name !== "=" || left === undefined || right === undefined) return undefined;
      return compared(left, [right], types) ?? compared(right, [left], types);
    }
    case "in": {
      const [node, list] = parts as [FilterNode, FilterNode[]];
      return compared(node, list, types);
    }
    case "column": {
      // A boolean one by itself.
      const [name] = parts as [string];
      return types[name]?.type === "bool" ? { column: name, values: new Set(["true"]), isAll: true } : undefined;
    }
    default:
      return undefined;
  }
}

function compared(
  [word, name]: FilterNode,
  constants: readonly FilterNode[],
  types: Readonly<Record<string, { readonly type: string }>>,
): Requirement | undefined {
  const type = word === "column" ? types[String(name)]?.type : undefined;
  const form = type === undefined ? undefined : canonical[type];
  if (type === undefined || form === undefined) return undefined;
  const values = constants.map((node) => textOf(node, type));
  const isKnown = (value: string | undefined) =>
    value !== undefined && form.test(value) && Buffer.byteLength(value) <= maxLength;
  if (!values.every(isKnown)) return undefined;
  return { column: String(name), values: new Set(values as string[]), isAll: true };
}

/** A constant as it was written, of the type or one that is compared with it as it is. */
function textOf([word, ...parts]: FilterNode, type: string): string | undefined {
  if (word === "value") return parts[0] === null ? undefined : String(parts[0]);
  if (word !== "cast") return undefined;
  const [node, name, isArray] = parts as [FilterNode, string, boolean?];
  return isArray !== true && likeTypes(type).includes(name) ? textOf(node, type) : undefined;
}
