/** A table with rules that are generated, who reads it, and an oracle that says what each of them sees: `select` under the same rule. */
import fc from "fast-check";
import type { Database } from "../../src/database/types.js";
import type { TestDatabase } from "../support/databases.js";

export type Role = "viewer" | "editor" | "owner";
export const roles: readonly Role[] = ["viewer", "editor", "owner"];
export type Row = Record<string, unknown>;

/** Who reads: by the members of the spaces, or by the lists of a token. */
export interface Reader {
  readonly user: string;
  readonly lists?: { readonly readable: readonly string[]; readonly writable: readonly string[] };
}

export interface Rules {
  readonly filter: string | null;
  readonly columnRoles: Readonly<Record<string, readonly Role[]>>;
  readonly columns: readonly string[] | null;
}

export const allColumns = ["id", "team", "owner", "level", "flag", "a", "b", "c"] as const;
/** Those whose values are secrets, each of them written once. */
export const secretColumns = ["a", "b", "c"] as const;

/** Conditions over the row and the user; `$S` is the schema. */
const atom = fc.constantFrom(
  "owner = perch.current_user_id()",
  "items.owner in (perch.current_user_id(), 'all')",
  "level > 4",
  "flag",
  "flag is not true",
  "a is not null",
  // Fail for some rows, which are then in nobody's sight.
  "10 / level > 2",
  "(c ->> 'k')::int > 3",
  "(level * 536870912) > 0",
  // Look beyond the row.
  "exists (select from $S.helpers h where h.item = items.id and h.helper = perch.current_user_id())",
  "exists (select from $S.gates g where g.team = items.team and g.open)",
  "$S.is_mine(owner)",
);
const { filter: filterText } = fc.letrec<{ filter: string }>((tie) => ({
  filter: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    atom,
    tie("filter").map((one) => `not (${one})`),
    fc.tuple(tie("filter"), tie("filter")).map(([one, other]) => `(${one} and ${other})`),
    fc.tuple(tie("filter"), tie("filter")).map(([one, other]) => `(${one} or ${other})`),
    tie("filter").map((one) => `case when level is null then flag else ${one} end`),
  ),
}));

const someRoles = fc.subarray([...roles], { minLength: 1, maxLength: 2 });
export const rules: fc.Arbitrary<Rules> = fc
  .record({
    filter: fc.option(filterText, { freq: 5 }),
    hidden: fc.dictionary(fc.constantFrom("a", "b", "c", "level", "flag"), someRoles, {
      maxKeys: 3,
      noNullPrototype: true,
    }),
    columns: fc.option(fc.constantFrom<readonly string[]>(["id", "team", "a", "level"], ["id", "a", "b", "c"]), {
      freq: 3,
    }),
  })
  .map(({ filter, hidden, columns }) => ({
    filter,
    columns,
    columnRoles: Object.fromEntries(
      Object.entries(hidden).filter(([name]) => columns === null || columns.includes(name)),
    ),
  }));

/** Whether what a filter says may change while the row does not. */
export const looksFurther = ({ filter }: Rules) => filter !== null && /\$S\./.test(filter);

export async function makeWorld(t: TestDatabase, nth: number) {
  const schema = `w${nth}`;
  const spaces = [`red${nth}`, `blue${nth}`] as const;
  const table = "items";
  await t.db.transaction((tx) =>
    tx.script(`
      create schema ${schema};
      create table ${schema}.items (id int primary key, team text, owner text, level int, flag boolean, a text, b text, c jsonb);
      create table ${schema}.helpers (item int, helper text, primary key (item, helper));
      create table ${schema}.gates (team text primary key, open boolean);
      insert into ${schema}.gates values ('${spaces[0]}', true), ('${spaces[1]}', false);
      create function ${schema}.is_mine(owner text) returns boolean language sql stable set search_path = pg_catalog, pg_temp
        return owner = current_setting('app.current_user_id') or owner = 'all';
      create table ${schema}.history (n int generated always as identity, image jsonb);
      create function ${schema}.note_history() returns trigger language plpgsql as
        $$ begin insert into ${schema}.history (image) values (to_jsonb(new)); return null; end $$;
      create trigger note_history after insert or update on ${schema}.items for each row execute function ${schema}.note_history();`),
  );
  let current: Rules = { filter: null, columnRoles: {}, columns: null };

  async function setRules(next: Rules): Promise<void> {
    current = next;
    const filter = next.filter?.replaceAll("$S", schema) ?? null;
    await t.db.query(
      `select perch.sync_table(relation => '${schema}.items', app_id => 'shop', space_column => 'team', table_name => 'items${nth}',
         columns => $1::name[], writable_columns => $2::name[], row_filter => $3, column_roles => $4)`,
      [
        next.columns === null ? null : `{${next.columns.join()}}`,
        `{${(next.columns ?? allColumns).filter((name) => name !== "id" && name !== "team").join()}}`,
        filter,
        JSON.stringify(next.columnRoles),
      ],
    );
    await t.db.query(
      `create or replace function ${schema}.sees(perch_image jsonb) returns boolean language plpgsql as $f$
       begin
         return coalesce((select ${filter ?? "true"} from jsonb_populate_record(null::${schema}.items, perch_image) as items), false);
       exception when others then return false; end $f$`,
    );
  }

  /** In which role somebody is in each of the spaces; those that they may not read are not there. */
  async function rolesOf(db: Database, { user, lists }: Reader): Promise<Map<string, Role>> {
    const members = await db.query<{ space_id: string; role: Role }>(
      "select space_id, role from perch.space_members where user_id = $1 and space_id = any ($2)",
      [user, [...spaces]],
    );
    if (lists === undefined) return new Map(members.map(({ space_id, role }) => [space_id, role]));
    const owns = (space: string) => members.some(({ space_id, role }) => space_id === space && role === "owner");
    return new Map(
      [...lists.readable, ...lists.writable].map((space) => [
        space,
        lists.writable.includes(space) ? (owns(space) ? "owner" : "editor") : "viewer",
      ]),
    );
  }

  const visible = (role: Role): string[] =>
    (current.columns ?? allColumns).filter((name) => current.columnRoles[name]?.includes(role) ?? true);
  const narrowed = (row: Row, names: readonly string[]): Row =>
    Object.fromEntries(names.map((name) => [name, row[name]]));

  const seenBy = (db: Database, user: string, from: string, where: string, spacesOf: readonly string[]) =>
    db.transaction(async (tx) => {
      await tx.query("select set_config('app.current_user_id', $1, true)", [user]);
      return tx.query<{ image: Row }>(
        `select x.image from ${from} x where x.image ->> 'team' = any ($1) and ${schema}.sees(x.image) ${where}`,
        [spacesOf],
      );
    });
  const now = `(select to_jsonb(i) as image from ${schema}.items i)`;

  return {
    spaces,
    schema,
    table: `items${nth}`,
    relation: `${schema}.${table}`,
    setRules,
    rules: () => current,
    rolesOf,
    /** What a reader is to hold: by "space/id" the columns that they see. */
    async expected(db: Database, reader: Reader): Promise<Map<string, Row>> {
      const roleIn = await rolesOf(db, reader);
      const found = await seenBy(db, reader.user, now, "", [...roleIn.keys()]);
      return new Map(
        found.map(({ image }) => [
          `${image.team}/${image.id}`,
          narrowed(image, visible(roleIn.get(String(image.team)) as Role)),
        ]),
      );
    },
    /** The same of a shape, which shows the columns that the reader sees in all spaces, and values as text. */
    async expectedShape(db: Database, reader: Reader): Promise<Map<string, Row>> {
      const roleIn = await rolesOf(db, reader);
      const found = await seenBy(db, reader.user, now, "", [...roleIn.keys()]);
      // In all spaces of theirs: others that they are members of count, too, and their own, in which they are the owner.
      const everywhere = await db.query<{ role: Role }>("select role from perch.space_members where user_id = $1", [
        reader.user,
      ]);
      const roles = ["owner" as const, ...everywhere.map(({ role }) => role)];
      const names = allColumns.filter((name) => roles.every((role) => visible(role).includes(name)));
      return new Map(found.map(({ image }) => [String(image.id), narrowed(image, names)]));
    },
    /** Every secret that the rules as they are now show a reader, in any row that there ever was. */
    async allowed(db: Database, reader: Reader): Promise<string[]> {
      const roleIn = await rolesOf(db, reader);
      const found = await seenBy(db, reader.user, `${schema}.history`, "", [...roleIn.keys()]);
      return found.flatMap(({ image }) =>
        secretsIn(JSON.stringify(narrowed(image, visible(roleIn.get(String(image.team)) as Role)))),
      );
    },
  };
}
export type World = Awaited<ReturnType<typeof makeWorld>>;

let lastSecret = 0;
/** A value that is nowhere else. */
export function newSecret(): string {
  lastSecret += 1;
  return `t0k${lastSecret}e`;
}
export const secretsIn = (text: string): string[] => text.match(/t0k\d+e/g) ?? [];
