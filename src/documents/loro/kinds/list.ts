import { withHandle } from "../handles.js";
import { type Json, toJson } from "../json.js";
import { reconcileList } from "../reconcile.js";
import type { ContainerKind } from "./kind.js";

export const list: ContainerKind = {
  type: "List",
  empty: [],
  expected: "a list",
  accept: (value, { json }) => (Array.isArray(value) ? json(value) : undefined),
  read: (doc, name) => withHandle(doc.getList(name), (handle) => toJson(handle.toJSON())),
  write(doc, name, value, options) {
    withHandle(doc.getList(name), (handle) => reconcileList(handle, value as Json[], options));
  },
};
