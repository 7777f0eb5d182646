export * from "./checkpoints/index.js";
export * from "./database/index.js";
export * from "./documents/index.js";
export * from "./errors.js";
export * from "./identity/index.js";
export * from "./log/index.js";
