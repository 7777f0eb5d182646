export * from "./database/index.js";
export * from "./errors.js";
