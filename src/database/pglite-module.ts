import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { setFlagsFromString } from "node:v8";

// Of the platform, and in no types that are loaded here.
declare const WebAssembly: { compile(bytes: Uint8Array): Promise<object> };

/** Roughly the bytes that a function has to have executed until V8 optimizes it. */
const optimizeAfter = (bytes: number) => setFlagsFromString(`--wasm-tiering-budget=${bytes}`);
/** V8's own figure since its version 12. */
const usual = 13_000_000;

/**
 * Most of Postgres is called a few times, at the start, and is not worth the optimizing compiler, which then takes half of all the processor's time: what
 * is called again and again is compiled later. V8 takes note of the figure for a module when it compiles it, so that nothing else that the process runs is touched.
 */
async function compile(): Promise<object> {
  const folder = dirname(createRequire(import.meta.url).resolve("@electric-sql/pglite"));
  const bytes = await readFile(join(folder, "pglite.wasm"));
  optimizeAfter(400_000_000);
  try {
    return await WebAssembly.compile(bytes);
  } finally {
    optimizeAfter(usual);
  }
}

let compiled: Promise<object> | undefined;

/** PGlite's engine, compiled once a process, for all of its databases. */
export function engineModule(): Promise<object> {
  compiled ??= compile();
  return compiled;
}
