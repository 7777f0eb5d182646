export * from "./changes/index.js";
export * from "./checkpoints/index.js";
export * from "./context/index.js";
export * from "./database/index.js";
export * from "./documents/index.js";
export * from "./errors.js";
