import type { Database } from "../database/types.js";

/** What one check found; every check gives rows of this shape. */
export interface Finding {
  name: string;
  level: "ok" | "warning" | "error";
  detail: string;
  /** What to do; null when nothing need be done. */
  remedy: string | null;
}

export type Check = (db: Database) => Promise<Finding[]>;

export const ok = (name: string, detail: string): Finding => ({ name, level: "ok", detail, remedy: null });
export const warning = (name: string, detail: string, remedy: string): Finding => ({
  name,
  level: "warning",
  detail,
  remedy,
});
export const wrong = (name: string, detail: string, remedy: string): Finding => ({
  name,
  level: "error",
  detail,
  remedy,
});
