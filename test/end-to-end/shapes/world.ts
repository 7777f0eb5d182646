/**
 * A random table, who may see what of it, and what `select` says that somebody sees of it at a position of the log. What it was then is known from
 * triggers of this test alone, which keep every row as it was written, with its type; the log only says in which order transactions come.
 */

import { type Kind, kinds, ownTypes } from "./columns.js";
import type { Chance } from "./random.js";

export interface Column {
  readonly name: string;
  /** As SQL writes the name. */
  readonly sql: string;
  readonly kind: Kind;
  readonly nullable: boolean;
}

/** Which rows and columns, in the words of a request; what they are called by SQL is the same. */
export interface Wanted {
  readonly where?: string;
  readonly columns?: readonly Column[];
}

export interface Rules {
  readonly rowFilter: string | null;
  /** Names of columns. */
  readonly columnRoles: Readonly<Record<string, readonly string[]>>;
}

/** With which rights somebody reads, as far as it makes a difference here. */
export interface Rights {
  readonly user: string;
  readonly spaces: readonly string[];
  readonly roles: readonly string[];
  readonly rules: Rules;
}

export interface World {
  readonly script: string;
  readonly key: readonly Column[];
  readonly columns: readonly Column[];
  readonly spaces: readonly string[];
  readonly hasDocument: boolean;
  /** Of SQL that changes something. */
  deed(chance: Chance): readonly string[];
  /** Columns and values that a device may push, as perch.push takes them. */
  pushed(chance: Chance): { id: string; space: string; data: Record<string, unknown> };
  rules(chance: Chance): Rules;
  sync(rules: Rules): string;
  wanted(chance: Chance): Wanted;
  /** In: rights, and the columns and rows. Out: what is selected of the two tables as they are, or, with a moment, as they were. */
  select(rights: Rights, wanted: Wanted, moment?: { upto: bigint; snapshot: string }): string;
  /** Columns that are shown. */
  shown(rights: Rights, wanted: Wanted): readonly Column[];
}

const names = ["n", "title", "Mixed", "with space", 'quo"te', "select", "ä", "x1", "x2", "x3"];
const ident = (name: string) =>
  /^[a-z_][a-z0-9_]*$/.test(name) && name !== "select" ? name : `"${name.replaceAll('"', '""')}"`;

export function randomWorld(chance: Chance): World {
  const column = (name: string, kind: Kind, nullable: boolean): Column => ({ name, sql: ident(name), kind, nullable });
  const keyKinds = kinds.filter(({ key }) => key);
  const key = Array.from({ length: chance.pick([1, 1, 2, 3]) }, (_, nth) =>
    column(`k${nth}`, chance.pick(keyKinds), false),
  );
  const values = chance.some(names, 0.7).map((name) => column(name, chance.pick(kinds), chance.is(0.8)));
  const byNumber = chance.is(0.3);
  const spaces = byNumber ? ["1", "2", "3"] : ["red", "blue", "green"];
  const hasDocument = chance.is(0.35);
  const spaceKind: Kind = {
    type: byNumber ? "int" : chance.pick(["text", "varchar(20)"]),
    values: byNumber ? spaces : spaces.map((space) => `'${space}'`),
    filters: [byNumber ? "$C <> 1" : "$C <> 'red'"],
  };
  const team = column("team", spaceKind, true);
  const owner = column("owner", { type: "text", values: ["'ben'", "'cleo'", "'zoe'"], filters: ["$C = 'ben'"] }, true);
  const link = column("link", { type: "int", values: ["1", "2", "3", "4", "5", "6"], filters: [] }, true);
  const texts = ["'one'", "'two words'", "'line'"];
  const body = column("body", { type: "text", values: texts, filters: ["$C is not null"] }, true);
  const columns = [...key, team, owner, link, ...values, ...(hasDocument ? [body] : [])];
  const changing = columns.filter((one) => !key.includes(one));
  const value = (from: Chance, { kind, nullable }: Column) =>
    nullable && from.is(0.2) ? "null" : `cast(${from.pick(kind.values)} as ${kind.type})`;
  const list = (of: readonly Column[], as = "") => of.map(({ sql }) => `${as}${sql}`).join();
  const row = (from: Chance) => columns.map((one) => value(from, one)).join();
  const conflict = `on conflict (${list(key)}) do update set ${changing.map(({ sql }) => `${sql} = excluded.${sql}`).join()}`;
  const insert = (from: Chance) => `insert into items (${list(columns)}) values (${row(from)}) ${conflict}`;
  /** One row, whichever there is. */
  const some = (from: Chance) =>
    `(${list(key)}) in (select ${list(key)} from items order by ${key
      .map(({ sql }) => `md5(${sql}::text || '${from.below(99)}')`)
      .join()} limit ${from.pick([1, 1, 3])})`;
  const set = (from: Chance) =>
    from
      .some(
        changing.filter((one) => one !== team && one !== owner),
        0.4,
      )
      .concat(owner)
      .map((one) => `${one.sql} = ${value(from, one)}`)
      .join();

  const history = (table: string, keyOf: readonly string[]) => `
    create table ${table}_was (nth bigint generated always as identity, txid xid8 default pg_current_xact_id(), gone boolean, was ${table});
    create function note_${table}() returns trigger language plpgsql security definer set search_path = public as $f$ begin
      if tg_op = 'TRUNCATE' then
        insert into ${table}_was (gone, was) select true, t from ${table} t;
        return null;
      end if;
      if tg_op = 'DELETE' or (tg_op = 'UPDATE' and (${keyOf.map((k) => `old.${k}`)}) is distinct from (${keyOf.map((k) => `new.${k}`)})) then
        insert into ${table}_was (gone, was) values (true, old);
      end if;
      if tg_op <> 'DELETE' then
        insert into ${table}_was (gone, was) values (false, new);
      end if;
      return null;
    end $f$;
    create trigger note after insert or update or delete on ${table} for each row execute function note_${table}();
    create trigger note_truncated before truncate on ${table} for each statement execute function note_${table}();`;
  const keys = { items: key.map(({ sql }) => sql), people: ["id"] };
  const begin = Array.from({ length: 30 }, () => insert(chance)).join(";\n");
  const script = `
    ${ownTypes}
    create table items (${columns.map(({ sql, kind, nullable }) => `${sql} ${kind.type}${nullable ? "" : " not null"}`).join()}, primary key (${list(key)}));
    create table people (id int primary key, team ${spaceKind.type}, active boolean not null);
    create table positions (txid xid8 primary key, at bigint not null);
    ${history("items", keys.items)} ${history("people", keys.people)}
    ${begin};
    insert into people select g, (array[${spaceKind.values.join()}]::${spaceKind.type}[])[1 + g % 3], g % 2 = 0 from generate_series(1, 6) g;
    insert into positions values (pg_current_xact_id(), 0);`;

  const hideable = values.filter(({ name }) => name !== "n");
  const hiddenFrom = ({ roles, rules }: Rights) =>
    Object.entries(rules.columnRoles).flatMap(([name, allowed]) =>
      roles.every((role) => allowed.includes(role)) ? [] : [name],
    );
  const shown = (rights: Rights, wanted: Wanted) => {
    const hidden = hiddenFrom(rights);
    return (wanted.columns ?? columns).filter(({ name }) => !hidden.includes(name));
  };
  const at = (table: "items" | "people", { upto, snapshot }: { upto: bigint; snapshot: string }) =>
    `(select (l.was).* from (
        select distinct on (${keys[table].map((name) => `(h.was).${name}`)}) h.gone, h.was
          from public.${table}_was h left join public.positions p on p.txid = h.txid
         where p.at <= ${upto} ${snapshot === "" ? "" : `or pg_visible_in_snapshot(h.txid, '${snapshot}')`}
         order by ${keys[table].map((name) => `(h.was).${name}`)}, h.nth desc) l
      where not l.gone)`;

  return {
    script,
    key,
    columns,
    spaces,
    hasDocument,
    deed(from) {
      const person = `update people set active = not active where id = ${from.below(7)}`;
      const one = (): readonly string[] => {
        switch (from.below(11)) {
          case 0:
          case 1:
          case 2:
            return [insert(from)];
          case 3:
          case 4:
            return [`update items set ${set(from)} where ${some(from)}`];
          case 5:
            return [`update items set team = ${value(from, team)} where ${some(from)}`];
          case 6:
            return [`delete from items where ${some(from)}`];
          case 7: {
            const part = from.pick(key);
            return [`update items set ${part.sql} = ${value(from, part)} where ${some(from)}`];
          }
          case 8:
            return [person];
          case 9:
            return [`update people set team = ${value(from, team)} where id = ${from.below(7)}`, person];
          default:
            return from.is(0.1) ? ["truncate items"] : [`update items set link = ${value(from, link)}`];
        }
      };
      return from.is(0.7) ? one() : [...one(), "select pg_sleep(0.02)", ...one(), ...one()];
    },
    pushed(from) {
      const words = ["one", "two", null];
      return { id: "", space: from.pick(spaces), data: { owner: from.pick(words), link: from.pick([1, 4, null]) } };
    },
    rules: (from) => ({
      rowFilter: from.pick([
        null,
        null,
        "owner is distinct from 'zoe'",
        "owner = perch.current_user_id() or link > 2",
        "10 / (link - 3) > 0",
      ]),
      columnRoles: Object.fromEntries(
        from.some(hideable, 0.2).map(({ name }) => [name, from.pick([["owner"], ["owner", "editor"]])]),
      ),
    }),
    sync: ({ rowFilter, columnRoles }) =>
      `select perch.sync_table(relation => 'items', app_id => 'shop', space_column => 'team', writable_columns => '{owner,link}',
         ${hasDocument ? `documents => '{"body": "text"}',` : ""}
         row_filter => ${rowFilter === null ? "null" : `'${rowFilter.replaceAll("'", "''")}'`},
         column_roles => '${JSON.stringify(columnRoles).replaceAll("'", "''")}')`,
    wanted(from) {
      // None that may be hidden.
      const known = columns.filter((one) => !hideable.includes(one));
      const atom = () => {
        const { kind, sql } = from.pick(known);
        const asked = from
          .pick([...kind.filters, "$C is null", "$C is not null", "$C is distinct from $C"])
          .replaceAll("$C", sql);
        return from.is(0.2) ? `link ${from.pick(["in", "not in"])} (select id from people where active)` : `(${asked})`;
      };
      const where = from.pick([
        () => undefined,
        atom,
        () => `${atom()} and ${atom()}`,
        () => `${atom()} or not ${atom()}`,
      ])();
      return {
        ...(where !== undefined && { where }),
        ...(from.is(0.3) && {
          columns: columns.filter((one) => key.includes(one) || (known.includes(one) && from.is(0.5))),
        }),
      };
    },
    shown,
    select(rights, wanted, moment) {
      const { rowFilter } = rights.rules;
      const inSpaces = `team::text in (${rights.spaces.map((space) => `'${space}'`).join() || "null"})`;
      // Whatever fails says no more than null.
      const rule = rowFilter?.startsWith("10 /")
        ? "link is distinct from 3 and 10 / nullif(link - 3, 0) > 0"
        : rowFilter?.replaceAll("perch.current_user_id()", `'${rights.user}'`);
      const from = (table: "items" | "people") =>
        moment === undefined ? `(select * from public.${table})` : at(table, moment);
      return `with people as (select * from ${from("people")} p where ${inSpaces})
        select ${shown(rights, wanted)
          .map(({ sql }) => `items.${sql}::text as ${sql}`)
          .join()}
          from ${from("items")} items where ${inSpaces} and (${rule ?? "true"}) and (${wanted.where ?? "true"})`;
    },
  };
}
