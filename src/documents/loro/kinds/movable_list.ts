import { withHandle } from "../handles.js";
import { type Json, toJson } from "../json.js";
import { reconcileMovableList } from "../reconcile.js";
import type { ContainerKind } from "./kind.js";

export const movableList: ContainerKind = {
  type: "MovableList",
  empty: [],
  expected: "a list",
  accept: (value, { json }) => (Array.isArray(value) ? json(value) : undefined),
  read: (doc, name) => withHandle(doc.getMovableList(name), (handle) => toJson(handle.toJSON())),
  write(doc, name, value, options) {
    withHandle(doc.getMovableList(name), (handle) => reconcileMovableList(handle, value as Json[], options));
  },
};
