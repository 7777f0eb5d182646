import { withHandle } from "../handles.js";
import { exactDigits, finiteOrNull } from "../json.js";
import type { ContainerKind } from "./kind.js";

/** A patch gives what is to be added. */
export const counter: ContainerKind = {
  type: "Counter",
  empty: 0,
  expected: "a finite number to add",
  accept(value) {
    const delta = exactDigits(value) === undefined ? value : Number(exactDigits(value));
    return typeof delta === "number" && Number.isFinite(delta) ? delta : undefined;
  },
  read: (doc, name) => withHandle(doc.getCounter(name), (handle) => finiteOrNull(handle.getShallowValue())),
  write(doc, name, delta) {
    if (delta !== 0) withHandle(doc.getCounter(name), (handle) => handle.increment(delta as number));
  },
  clear(doc, name) {
    withHandle(doc.getCounter(name), (handle) => {
      const value = handle.getShallowValue();
      if (value !== 0) handle.decrement(value);
    });
  },
  difference: (from, to) => Number(to) - Number(from ?? 0),
};
