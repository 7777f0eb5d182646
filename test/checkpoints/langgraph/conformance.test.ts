// LangGraph's own suites for savers, whole. They expect the test runner's functions to be global.
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { PerchSaver } from "../../../src/langgraph/index.js";
import { describeEachEngine, type TestDatabase } from "../../support/databases.js";

for (const [name, value] of Object.entries({ describe, it, expect, beforeAll, beforeEach, afterAll, afterEach }))
  vi.stubGlobal(name, value);
const { deltaChannelHistoryTests, specTest } = await import("@langchain/langgraph-checkpoint-validation");

describeEachEngine("a LangGraph saver", (open, engine) => {
  let t: TestDatabase;
  const initializer = {
    checkpointerName: `PerchSaver on ${engine}`,
    beforeAllTimeout: 120_000,
    beforeAll: async () => {
      t = await open();
    },
    // Savers of one database that must not see what the others wrote: each has a tenant of its own, and nothing is cleared.
    createCheckpointer: () => new PerchSaver({ db: t.db, tenantId: randomUUID() }),
  };
  specTest(initializer);
  deltaChannelHistoryTests(initializer);
});
