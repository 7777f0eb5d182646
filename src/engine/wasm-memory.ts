import { readByte, readerOf, readVarint, varint } from "../lib/binary.js";

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
  const reader = readerOf(module);
  const number = () => readVarint(reader, 10);
  // Magic and version, then sections: one byte of id, the size, the content.
  reader.offset = 8;
  while (reader.offset < module.length) {
    const start = reader.offset;
    const id = readByte(reader);
    const size = number();
    const end = reader.offset + size;
    if (id !== memorySection) {
      reader.offset = end;
      continue;
    }
    const [count, flags, minimum] = [number(), number(), number()];
    if (reader.bad) throw new Error("a WASM module cut short");
    if (count !== 1) throw new Error("a WASM module with other than one memory");
    const declared = flags & 1 ? number() : maxPages;
    const content = [1, ...varint(flags | 1), ...varint(minimum), ...varint(Math.min(declared, maxPages))];
    const section = Uint8Array.from([memorySection, ...varint(content.length), ...content]);
    const bounded = new Uint8Array(start + section.length + (module.length - end));
    bounded.set(module.subarray(0, start));
    bounded.set(section, start);
    bounded.set(module.subarray(end), start + section.length);
    return bounded;
  }
  return module;
}
