import { expect, it } from "vitest";
import { runFaults } from "../../scripts/faults/run.js";

/** `npm run test:faults` does the same for two minutes, with another seed each time. */
it("loses nothing acknowledged while nodes, sockets, database connections and Postgres are killed, paused and cut", async () => {
  const seed = Number(process.env.PERCH_SEED ?? 20_261_121);
  const result = await runFaults({ seed, seconds: 10, clients: 8, documents: 5, nodes: 2 });
  const { losses, differences, breakdowns } = result;
  expect({ losses, differences, breakdowns }, `seed ${seed}; the nodes logged:\n${result.log}`).toEqual({
    losses: [],
    differences: [],
    breakdowns: [],
  });
  expect(result.acknowledged).toBeGreaterThan(0);
  expect(result.sqlEdits).toBeGreaterThan(0);
  expect(result.faults.size).toBeGreaterThan(3);
}, 180_000);
