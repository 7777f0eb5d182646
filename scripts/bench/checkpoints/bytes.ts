import { migrate } from "../../../src/database/migrate.js";
import { newRandom, openSavers, prose, startRun } from "./savers.js";

const steps = 1000;

/** A state of 100 kB, and which 1 kB of it each step changes. */
const shapes: { name: string; step(nth: number, random: () => number): Record<string, unknown> }[] = [];

const fields = 100;
shapes.push({
  name: "100 channels of 1 kB, one changes",
  step: (nth, random) =>
    nth === 0
      ? Object.fromEntries(Array.from({ length: fields }, (_, field) => [`field_${field}`, prose(1000, random)]))
      : { [`field_${Math.floor(random() * fields)}`]: prose(1000, random) },
});

const message = (random: () => number) => ({ role: "assistant", content: prose(950, random) });
const conversation = (change: (messages: unknown[], random: () => number) => unknown[]) => {
  let messages: unknown[] = [];
  return (nth: number, random: () => number) => {
    messages = nth === 0 ? Array.from({ length: 100 }, () => message(random)) : change(messages, random);
    return { messages };
  };
};
shapes.push({
  name: "a list of 100 × 1 kB, one is appended, the first goes",
  step: conversation((messages, random) => [...messages.slice(1), message(random)]),
});
shapes.push({
  name: "a list of 100 × 1 kB, one in it changes",
  step: conversation((messages, random) => {
    const at = Math.floor(random() * messages.length);
    return messages.map((old, nth) => (nth === at ? message(random) : old));
  }),
});

export interface Stored {
  name: string;
  /** Bytes that 1,000 steps take in the database, indexes included. */
  ours: number;
  theirs: number;
}

/** Each shape in a database of its own, made by `createDatabase`. */
export async function storedBytes(createDatabase: (name: string) => Promise<string>): Promise<Stored[]> {
  const found: Stored[] = [];
  for (const [nth, { name, step }] of shapes.entries()) {
    const savers = await openSavers(await createDatabase(`bytes_${nth}`), 1);
    await migrate(savers.db);
    const size = async (schema: string) => {
      const [row] = await savers.db.query<{ bytes: number }>(
        `select sum(pg_total_relation_size(oid))::float8 as bytes from pg_class where relnamespace = $1::regnamespace and relkind = 'r'`,
        [schema],
      );
      return row?.bytes ?? Number.NaN;
    };
    const before = { ours: await size("perch"), theirs: await size("public") };
    const random = newRandom();
    const [ours, theirs] = [startRun(savers.ours), startRun(savers.theirs)];
    for (let count = 0; count < steps; count++) {
      const changes = step(count, random);
      await ours.step(changes);
      await theirs.step(changes);
    }
    await savers.db.query("vacuum");
    found.push({ name, ours: (await size("perch")) - before.ours, theirs: (await size("public")) - before.theirs });
    await savers.close();
  }
  return found;
}
