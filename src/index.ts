// First, so that a bundle says what is wrong with it before anything in it fails for that.
import "./database/package-root.js";

export * from "./checkpoints/index.js";
export * from "./database/index.js";
export * from "./documents/index.js";
export * from "./errors.js";
export * from "./identity/index.js";
export * from "./log/index.js";
