/**
 * The server of the database is killed under load and its standby promoted: first one that has all that was acknowledged, then one that is behind.
 * `npm run test:faults -- --failover` does it twenty times, on each Postgres.
 */
import { expect, it } from "vitest";
import { runFailover } from "../../scripts/faults/failover.js";

it("clients go on by themselves when a standby is promoted, and nobody is served by one that is behind before it is noticed", async () => {
  const seen = await runFailover({
    version: 18,
    synchronous: [true, false],
    seed: 11,
    nodes: 1,
    clients: 2,
    calmMs: 300,
  });
  expect(seen.wrong, seen.log).toEqual([]);
  expect(seen.rounds.map(({ synchronous, missing }) => [synchronous, missing > 0])).toEqual([
    [true, false],
    [false, true],
  ]);
  expect(seen.log).toMatch(/gone are at least of space team the changes \d+ to \d+/);
});
