/** What a value comes to. */
export interface Weight {
  /** Itself and all that is in it. */
  readonly nodes: number;
  /** As JSON text, as Postgres writes it; each node as what it takes in memory, if that is more. */
  readonly bytes: number;
  readonly depth: number;
  /** Whether it is JSON: no object in it has the key `__proto__`, which a binding reads as the object's prototype. */
  readonly isPlain: boolean;
}

/** What a node takes in memory at least. */
const nodeBytes = 16;

/**
 * Weighs a value out of Loro, or out of a patch: by level rather than by recursion, since it may be nested deeper than the stack. It stops
 * soon after a bound.
 */
export function weigh(
  value: unknown,
  maxNodes = Number.POSITIVE_INFINITY,
  maxDepth = Number.POSITIVE_INFINITY,
): Weight {
  let nodes = 0;
  let bytes = 0;
  let depth = 0;
  let isPlain = true;
  let level: unknown[] = [value];
  for (; level.length > 0 && nodes <= maxNodes && depth <= maxDepth; depth++) {
    const next: unknown[] = [];
    for (const item of level) {
      nodes++;
      bytes += Math.max(nodeBytes, textBytes(item));
      if (typeof item !== "object" || item === null) continue;
      if (item instanceof Uint8Array) {
        // As JSON it is a list of numbers.
        nodes += item.length;
        bytes += nodeBytes * item.length;
      } else if (Array.isArray(item)) for (const inner of item) next.push(inner);
      else {
        const prototype: unknown = Object.getPrototypeOf(item);
        if (Object.hasOwn(item, "__proto__") || (prototype !== Object.prototype && prototype !== null)) isPlain = false;
        for (const [key, inner] of Object.entries(item)) {
          bytes += textBytes(key);
          next.push(inner);
        }
      }
    }
    level = next;
  }
  return { nodes, bytes, depth: depth - 1, isPlain };
}

function textBytes(value: unknown): number {
  if (typeof value === "string") return Buffer.byteLength(JSON.stringify(value));
  if (typeof value !== "number") return 0;
  // jsonb writes every digit of 1e308.
  const size = Math.abs(value);
  return size >= 1e21 || (size > 0 && size < 1e-6) ? Math.abs(Math.log10(size)) + 20 : 0;
}
