export { type DocumentKey, documentId } from "./key.js";
export * from "./store/store.js";
