import type { Container } from "loro-crdt";

/**
 * Whether something that a Loro document holds is a container, and not a plain value. Loro has a function of that name, with which all of Loro comes; and the
 * kinds of fields are described in processes that decode nothing.
 */
export function isContainer(value: unknown): value is Container {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value) as { kind?: unknown } | null;
  return typeof prototype?.kind === "function";
}
