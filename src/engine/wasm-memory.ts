/**
 * Bounds the memory of every WASM module compiled in this thread from now on, so call it before such a module is imported. A module
 * that asks for more than `maxBytes` is refused it, and traps. Without a bound a few bytes that unpack into very many could take
 * 4 GiB of the machine, since `resourceLimits` count the JavaScript heap only.
 */
export function limitWasmMemory(maxBytes: number): void {
  const namespace = (globalThis as unknown as { WebAssembly: { Module: new (bytes: Uint8Array) => object } })
    .WebAssembly;
  const maxPages = Math.floor(maxBytes / pageBytes);
  namespace.Module = new Proxy(namespace.Module, {
    construct: (target, [bytes, ...rest], newTarget) =>
      Reflect.construct(target, [withMaximum(bytes as Uint8Array, maxPages), ...rest], newTarget) as object,
  });
}

const pageBytes = 65_536;
const memorySection = 5;

/** The module with its own memory's maximum set: the one section that says so is written anew, all others are copied. */
export function withMaximum(module: Uint8Array, maxPages: number): Uint8Array {
  // Magic and version, then sections: one byte of id, the size, the content.
  let at = 8;
  while (at < module.length) {
    const id = module[at];
    const size = readLeb(module, at + 1);
    const end = size.next + size.value;
    if (id !== memorySection) {
      at = end;
      continue;
    }
    const count = readLeb(module, size.next);
    const flags = readLeb(module, count.next);
    const minimum = readLeb(module, flags.next);
    if (count.value !== 1) throw new Error("a WASM module with other than one memory");
    const declared = flags.value & 1 ? readLeb(module, minimum.next).value : maxPages;
    const content = [1, ...leb(flags.value | 1), ...leb(minimum.value), ...leb(Math.min(declared, maxPages))];
    const section = Uint8Array.from([memorySection, ...leb(content.length), ...content]);
    const bounded = new Uint8Array(at + section.length + (module.length - end));
    bounded.set(module.subarray(0, at));
    bounded.set(section, at);
    bounded.set(module.subarray(end), at + section.length);
    return bounded;
  }
  return module;
}

function readLeb(bytes: Uint8Array, start: number): { value: number; next: number } {
  let value = 0;
  for (let at = start, shift = 0; ; at++, shift += 7) {
    const byte = bytes[at];
    if (byte === undefined) throw new Error("a WASM module cut short");
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return { value, next: at + 1 };
  }
}

function leb(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 0x80);
  }
}
