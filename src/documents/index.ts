export { type DocumentAddress, type DocumentKey, documentId } from "./key.js";
export * from "./store/store.js";
export type { DocumentVersion, VersionsOptions } from "./versions.js";
