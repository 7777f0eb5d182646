import { workerData } from "node:worker_threads";
import { limitWasmMemory } from "../../engine/wasm-memory.js";
import type { DocumentLimits } from "./limits.js";

// Imported for its effect, before Loro: afterwards Loro's memory could no longer be bounded.
limitWasmMemory((workerData as DocumentLimits).wasmBytes);
