import { withHandle } from "../handles.js";
import { isPlainObject, type Json, toJson } from "../json.js";
import { reconcileMap } from "../reconcile.js";
import type { ContainerKind } from "./kind.js";

export const map: ContainerKind = {
  type: "Map",
  empty: {},
  expected: "an object",
  accept: (value, { json }) => (isPlainObject(value) ? json(value) : undefined),
  read: (doc, name) => withHandle(doc.getMap(name), (handle) => toJson(handle.toJSON())),
  write(doc, name, value, options) {
    withHandle(doc.getMap(name), (handle) => reconcileMap(handle, value as { [key: string]: Json }, options));
  },
};
