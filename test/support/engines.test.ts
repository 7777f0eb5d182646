import { LoroDoc } from "loro-crdt";
import { expect, it } from "vitest";
import { lendEngine } from "./engines.js";

it("lends a thread again without what the test before had in it, and keeps that test out", async () => {
  const first = lendEngine();
  const update = new LoroDoc().export({ mode: "snapshot" });
  await first.call("doc", "load", ["doc", { table: "notes", fields: {} }, update, []]);
  expect(await first.call("doc", "has", ["doc"])).toBe(true);
  const loading = first.call("other", "load", ["other", { table: "notes", fields: {} }, update, []]);
  await first.close();
  await loading;
  await expect(first.call("doc", "has", ["doc"])).rejects.toThrow("closed");

  const second = lendEngine();
  const { memoryBytes } = second.stats();
  expect(memoryBytes, "the thread of the first is used again").toBeGreaterThan(0);
  for (const id of ["doc", "other"]) expect(await second.call(id, "has", [id])).toBe(false);
  await second.close();
});
