import { withHandle } from "../handles.js";
import { exactDigits, finiteOrNull } from "../json.js";
import type { ContainerKind } from "./kind.js";

/**
 * Whether that much may be added at once: up to 2^53, where numbers still count in ones. What is added is never taken away again, so a sum that came to
 * infinity would stay there.
 */
export const isDelta = (value: unknown): value is number =>
  typeof value === "number" && Math.abs(value) <= Number.MAX_SAFE_INTEGER + 1;

export const expectedDelta = "a finite number to add, up to 2^53";

/** A patch gives what is to be added. */
export const counter: ContainerKind = {
  type: "Counter",
  empty: 0,
  expected: expectedDelta,
  accept(value) {
    const delta = exactDigits(value) === undefined ? value : Number(exactDigits(value));
    return isDelta(delta) ? delta : undefined;
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
