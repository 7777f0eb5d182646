import { storable } from "../../../database/text.js";
import { withHandle } from "../handles.js";
import { exactDigits } from "../json.js";
import { reconcileText } from "../text.js";
import type { ContainerKind } from "./kind.js";

export const text: ContainerKind = {
  type: "Text",
  empty: "",
  expected: "a string",
  accept: (value) => (typeof value === "string" && exactDigits(value) === undefined ? value : undefined),
  read: (doc, name) => withHandle(doc.getText(name), (handle) => storable(handle.toString())),
  write(doc, name, value, { textDiffMs }) {
    withHandle(doc.getText(name), (handle) => reconcileText(handle, value as string, textDiffMs));
  },
};
