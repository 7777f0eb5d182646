/**
 * The server of the database is killed under load, and another takes its place: a standby that has all that was acknowledged,
 * a backup, and a backup with the log up to a point. `npm run test:faults -- --failover` and `-- --restore` do it more often, on each Postgres.
 */
import { expect, it } from "vitest";
import { runFailover } from "../../scripts/faults/failover.js";

it("clients go on by themselves with what takes a server's place, and nobody is served by what is behind before it is noticed", async () => {
  const seen = await runFailover({
    version: 18,
    successors: ["synchronous", "restored", "recovered"],
    seed: 11,
    nodes: 1,
    clients: 2,
    calmMs: 300,
  });
  expect(seen.wrong, seen.log).toEqual([]);
  expect(seen.rounds.map(({ successor, lacked }) => [successor, Object.values(lacked).some((n) => n > 0)])).toEqual([
    ["synchronous", false],
    ["restored", true],
    ["recovered", true],
  ]);
  expect(seen.log).toMatch(/gone are at least of space team the changes \d+ to \d+/);
});
