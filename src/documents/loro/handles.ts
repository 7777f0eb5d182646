/**
 * Runs `use` with a WASM handle and frees it. After an error it is left to the garbage collector: touching the module again behind
 * a trap would hide the trap behind another error.
 */
export function withHandle<Handle extends { free(): void }, Result>(
  handle: Handle,
  use: (handle: Handle) => Result,
): Result {
  const result = use(handle);
  handle.free();
  return result;
}
