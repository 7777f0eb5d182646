import type { PerchError } from "../errors.js";
import type { Fields, FilterNode } from "./tree.js";

const cast = (text: string, type: string): FilterNode => ["cast", ["value", text], type, false];

/** A constant, of the type that Postgres gives it where it stands by itself; a string is of the type that is wanted of it. */
export function constantOf({ isnull, ival, fval, sval, boolval, bsval }: Fields): FilterNode {
  if (isnull === true) return ["value", null];
  if (ival !== undefined) return cast(String(ival.ival ?? 0), "int4");
  if (boolval !== undefined) return cast(boolval.boolval === true ? "true" : "false", "bool");
  if (sval !== undefined) return ["value", sval.sval ?? ""];
  // X'1f' comes as x1f: as text, a bit string is written so as well.
  if (bsval !== undefined) return cast(bsval.bsval, "varbit");
  const digits = String(fval?.fval ?? "");
  const isLong = /^\d{1,19}$/.test(digits) && BigInt(digits) <= 9_223_372_036_854_775_807n;
  return cast(digits, isLong ? "int8" : "numeric");
}

/** A cast, whose type is named as in the catalog: the database decides whether it may be cast to. */
export function castOf(node: FilterNode, typeName: Fields, refused: (message: string) => PerchError): FilterNode {
  const { names = [], typmods, arrayBounds = [], setof } = typeName;
  const words = (names as Fields[]).map(({ String: word }) => word.sval as string);
  const name = words[0] === "pg_catalog" ? words.slice(1).join(".") : words.map(quoted).join(".");
  if (setof === true) throw refused("a filter may not cast to a set");
  if (typmods !== undefined && !(name === "interval" && typmods.length === 1)) {
    throw refused(`a filter may not cast to ${name} of a length or precision`);
  }
  if (arrayBounds.length > 1) throw refused("write one [] for an array of any number of dimensions");
  return ["cast", node, name, arrayBounds.length === 1];
}

/** As format_type spells a name. */
const quoted = (word: string) => (/^[a-z_][a-z0-9_$]*$/.test(word) ? word : `"${word.replaceAll('"', '""')}"`);
