/**
 * Byte arrays in the arguments of a call, made safe to send. A structured clone copies the whole buffer under a view, so ninety
 * bytes out of a socket's 64 kB chunk, or a row's bytes out of a database driver's pool, are copied to a buffer of their own first;
 * that copy is ours, so it is moved rather than cloned. Looks into arguments and one level of arrays and plain objects below.
 */
export function detachViews(
  args: readonly unknown[],
  transfer: readonly ArrayBuffer[],
): {
  args: unknown[];
  transfer: ArrayBuffer[];
} {
  const moved = [...transfer];
  const own = (value: unknown): unknown => {
    if (!(value instanceof Uint8Array)) return value;
    if (value.buffer.byteLength === value.byteLength) return value;
    const copy = new Uint8Array(value);
    moved.push(copy.buffer);
    return copy;
  };
  const shallow = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.some(isView) ? value.map(own) : value;
    if (typeof value !== "object" || value === null || value instanceof Uint8Array) return own(value);
    const entries = Object.entries(value);
    if (!entries.some(([, item]) => isView(item) || (Array.isArray(item) && item.some(isView)))) return value;
    return Object.fromEntries(entries.map(([key, item]) => [key, Array.isArray(item) ? item.map(own) : own(item)]));
  };
  return { args: args.map(shallow), transfer: moved };
}

function isView(value: unknown): boolean {
  return value instanceof Uint8Array;
}
