export { type ExportOptions, exportUser } from "./export.js";
export type { LineCounts, Manifest } from "./format.js";
export { type ImportOptions, type ImportProgress, type ImportResult, importUser } from "./import.js";
