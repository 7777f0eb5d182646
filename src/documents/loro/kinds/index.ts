import { boolean } from "./boolean.js";
import { counter } from "./counter.js";
import { datetime } from "./datetime.js";
import { integer } from "./integer.js";
import { json } from "./json.js";
import type { ContainerKind, ScalarKind } from "./kind.js";
import { list } from "./list.js";
import { map } from "./map.js";
import { movableList } from "./movable_list.js";
import { number } from "./number.js";
import { string } from "./string.js";
import { text } from "./text.js";
import { tree } from "./tree.js";

/** A file, a line here and a row of perch.field_kinds for each kind of field; a test holds them together. */
export const scalarKinds = { string, number, integer, boolean, datetime, json } as const satisfies Record<
  string,
  ScalarKind
>;
export const containerKinds = { text, list, movable_list: movableList, tree, counter, map } as const satisfies Record<
  string,
  ContainerKind
>;
