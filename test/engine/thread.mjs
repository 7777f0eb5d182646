// A thread module for tests: it does what a thread that decodes strangers' bytes may do at its worst.
import { workerData } from "node:worker_threads";
import { serve, transferring } from "../../dist/engine/thread.js";
import { PerchError } from "../../dist/errors.js";

const done = [];
let pretended = { held: 0 };

serve(
  {
    remember(text) {
      done.push(text);
      return done.length;
    },
    remembered: () => [...done],
    given: () => workerData,
    environment: () => Object.keys(process.env),
    add: (a, b) => a + b,
    refuse(code) {
      throw new PerchError(code, "refused by the thread", { why: "test" });
    },
    throwString() {
      throw "a plain string, as WASM bindings throw";
    },
    bufferBytes: (views) => views.map((view) => view.buffer.byteLength),
    make: (size) => {
      const bytes = new Uint8Array(size);
      return transferring({ bytes }, [bytes]);
    },
    unclonable: () => () => 1,
    busy(ms) {
      const end = performance.now() + ms;
      while (performance.now() < end);
      return ms;
    },
    hang() {
      for (;;);
    },
    /** A real trap, in a module of five instructions. */
    trap() {
      const bytes = [
        0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 116, 0, 0, 10, 5, 1, 3, 0, 0, 11,
      ];
      new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(bytes))).exports.t();
    },
    overflow() {
      const deeper = () => 1 + deeper();
      return deeper();
    },
    exit() {
      process.exit(3);
    },
    throwLater() {
      setTimeout(() => {
        throw new Error("uncaught in the thread");
      }, 1);
      return "soon";
    },
    rejectLater() {
      void Promise.reject(new Error("unhandled in the thread"));
      return "soon";
    },
    fillHeap() {
      const kept = [];
      for (;;) kept.push(new Array(100_000).fill(Math.random()));
    },
    pretend(held, needed) {
      pretended = { held, needed };
    },
  },
  { memory: () => pretended },
);
