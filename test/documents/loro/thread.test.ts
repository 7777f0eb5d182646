import { expect, it } from "vitest";
import { packagesOf } from "../../support/packages.js";

it("is not made to start more slowly by any package but Loro", async () => {
  expect(await packagesOf("documents/loro/thread.js")).toEqual(["loro-crdt"]);
});

it("has Loro to itself: neither a process that serves nor an app that imports perch begins by loading it, nor what only some need", async () => {
  // Who serves loads it before it is asked for; commands and apps do not.
  expect(await packagesOf("index.js")).not.toContain("@libpg-query/parser");
  for (const entry of ["bin/worker.js", "bin/start.js", "index.js"]) {
    const packages = await packagesOf(entry);
    expect(packages).toContain("pg");
    for (const name of ["loro-crdt", "@electric-sql/pglite", "pino-pretty"])
      expect(packages, entry).not.toContain(name);
  }
});
