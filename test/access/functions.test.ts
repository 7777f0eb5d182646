import { beforeAll, expect, it } from "vitest";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { entriesOf, type FunctionEntry, functions } from "./functions.js";
import { attempts, type ContextName, contexts, makeLogins, makeWorld, type RoleName, roles } from "./world.js";

const denied = "-";

interface Found {
  name: string;
  /** A call with nulls, for those who may not even call it. */
  blank: string;
}

function outcome(value: unknown, error?: { code?: string; message: string }): string {
  if (error?.code === "42501" && /permission denied for (function|schema perch)/.test(error.message)) return denied;
  if (error) return (error.code ?? error.message).replace(/^PE/, "");
  if (value === "") return "ok";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value);
}

/** Outcomes as they are written down: one for all contexts, or six. */
const spread = (outcomes: string): string[] => {
  const each = outcomes.split(" ");
  return contexts.map((_, nth) => (each.length === 1 ? (each[0] as string) : (each[nth] ?? "?")));
};

const mayCall = (entry: FunctionEntry, role: RoleName) =>
  role === "superuser" || role === "perch_owner" || entry.callers.some((caller) => caller === role);

function expected(entry: FunctionEntry, role: RoleName): string[] {
  if (!mayCall(entry, role)) return spread(denied);
  if (role === "perch_worker") return spread(entry.worker ?? entry.bound);
  if (role === "superuser") return spread(entry.superuser ?? entry.bound);
  return spread(entry.bound);
}

describeEachEngine("access to functions", (open) => {
  let t: TestDatabase;
  let logins: Record<RoleName, string | null>;
  let found: Found[];

  beforeAll(async () => {
    t = await open();
    await makeWorld(t);
    logins = await makeLogins(t);
    found = await t.db.query<Found>(
      `select p.proname as name,
              format('perch.%I(%s)', p.proname, (select string_agg(case when p.provariadic <> 0 then 'variadic ' else '' end
                || 'null::' || format_type(a.type, null), ', ' order by a.nth) from unnest(p.proargtypes) with ordinality a (type, nth))) as blank
         from pg_proc p where p.pronamespace = 'perch'::regnamespace order by p.proname`,
    );
  });

  const tried = async (role: RoleName, context: ContextName, calls: string[]) =>
    attempts(
      t,
      logins[role],
      context,
      calls.map((call) => ({ sql: `select ${call}`, outcome })),
    );

  it("is written down for every function, and for none that is gone", () => {
    const names = found.map(({ name }) => name);
    expect(names.filter((name) => entriesOf(name).length === 0)).toEqual([]);
    expect(Object.keys(functions).filter((title) => !names.includes(title.split(":")[0] ?? ""))).toEqual([]);
    expect(new Set(names).size).toBe(names.length);
  });

  for (const role of roles) {
    it(`is refused to ${role} where it is not meant for it, whatever the arguments`, async () => {
      // A right to execute knows of no context: nobody, and somebody who may do most.
      for (const context of ["none", "owner"] as const) {
        const outcomes = await tried(
          role,
          context,
          found.map(({ blank }) => blank),
        );
        const refused = found.filter((_, nth) => outcomes[nth] === denied).map(({ name }) => name);
        const mayNot = found.filter(({ name }) => !entriesOf(name).some(([, entry]) => mayCall(entry, role)));
        expect({ context, refused }).toEqual({ context, refused: mayNot.map(({ name }) => name) });
      }
    });

    it(`gives ${role} in every context what is written down`, async () => {
      const called = Object.entries(functions).flatMap(([title, { call }]) =>
        call === undefined ? [] : [{ title, call }],
      );
      const actual: Record<string, string[]> = Object.fromEntries(called.map(({ title }) => [title, []]));
      for (const context of contexts) {
        const outcomes = await tried(
          role,
          context,
          called.map(({ call }) => call),
        );
        called.forEach(({ title }, nth) => {
          actual[title]?.push(outcomes[nth] as string);
        });
      }
      const wanted = called.map(({ title }) => [title, expected(functions[title] as FunctionEntry, role)]);
      const show = (outcomes: string[]) => outcomes.join(" ");
      expect(Object.fromEntries(Object.entries(actual).map(([title, outcomes]) => [title, show(outcomes)]))).toEqual(
        Object.fromEntries(wanted.map(([title, outcomes]) => [title, show(outcomes as string[])])),
      );
    });
  }
});
