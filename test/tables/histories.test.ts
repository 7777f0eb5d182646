import { expect, it } from "vitest";
import { isPassing } from "../../src/database/errors.js";
import type { Database, Transaction } from "../../src/database/types.js";
import { type Entry, pull } from "../log/support.js";
import { postgres } from "../support/databases.js";
import { pause, until } from "../support/until.js";
import { sequence, syncTable } from "./support.js";

/*
 * Histories of lists that only grow, checked as Elle does (Kingsbury, Alvaro: Elle, VLDB 2020): every value is appended once, so a list
 * says which transactions wrote it, in which order, and a list that somebody read says behind which of them that one comes. The log has to
 * be an order of whole transactions that agrees with all of that.
 */

const spaces = ["red", "blue"] as const;
const keys = Array.from({ length: 12 }, (_, nth) => nth + 1);
const spaceOf = (key: number) => spaces[key % spaces.length] as string;
const writers = 16;
const durationMs = 2_500;

interface Operation {
  readonly key: number;
  readonly list: readonly number[];
  /** What was appended; undefined: it was read. */
  readonly value?: number;
  /** Nobody may change the list between this and the commit. */
  readonly locked: boolean;
}
interface History {
  readonly txid: string;
  readonly operations: readonly Operation[];
}

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;
let values = 0;

async function append(tx: Transaction, key: number): Promise<Operation> {
  const value = ++values;
  const [row] = await tx.query<{ items: number[] }>(
    "update lists set items = items || $2::int where id = $1 returning items",
    [key, value],
  );
  return { key, value, list: row?.items ?? [], locked: true };
}

async function read(tx: Transaction, key: number, locked: boolean): Promise<Operation> {
  const [row] = await tx.query<{ items: number[] }>(
    `select items from lists where id = $1 ${locked ? "for share" : ""}`,
    [key],
  );
  return { key, list: row?.items ?? [], locked };
}

/** By rows in their order, and the counter of a space last: the app's own deadlocks are not looked for. */
async function transact(tx: Transaction): Promise<History> {
  const [row] = await tx.query<{ txid: string }>("select pg_current_xact_id()::text as txid");
  const operations: Operation[] = [];
  const touched = Array.from({ length: 1 + Math.floor(Math.random() * 5) }, () => pick(keys)).sort((a, b) => a - b);
  for (const key of touched) {
    const deed = Math.random();
    if (deed < 0.5) operations.push(await append(tx, key));
    else if (deed < 0.85) operations.push(await read(tx, key, deed < 0.7));
    else {
      await tx.script("savepoint s");
      await append(tx, key);
      await tx.script("rollback to s");
    }
    if (Math.random() < 0.5) await tx.query("select pg_sleep($1)", [Math.random() / 50]);
  }
  if (Math.random() < 0.2) {
    // Keeps the counter of a space until it commits, and so the rows of that space in a line.
    await tx.query("select perch.set_context('ann', '{red,blue}', '{red,blue}')");
    const note = { op: "insert", table: "notes", id: String(Math.random()), space_id: pick(spaces) };
    await tx.query("select perch.push('shop', $1::jsonb, 'phone')", [JSON.stringify([note])]);
    await tx.query("select pg_sleep($1)", [Math.random() / 50]);
  }
  return { txid: row?.txid ?? "", operations };
}

async function write(db: Database, endsAt: number): Promise<History[]> {
  const undone = new Error("rolled back");
  const committed: History[] = [];
  // Each some, however slow this machine is.
  while (Date.now() < endsAt || committed.length < 3) {
    try {
      committed.push(
        await db.transaction(async (tx) => {
          const history = await transact(tx);
          if (Math.random() < 0.15) throw undone;
          return history;
        }),
      );
    } catch (error) {
      if (error !== undone && !isPassing(error)) throw error;
    }
  }
  return committed;
}

/** Pages of entries of the table, as a follower with small pages is given them. */
async function follow(db: Database, pageSize: number, writing: () => boolean): Promise<Entry[][]> {
  const pages: Entry[][] = [];
  let cursor = {};
  for (let isLast = false; !isLast; ) {
    const isOver = !writing();
    const page = await db.transaction(async (tx) => {
      await tx.query("select perch.set_context('bob', '{red,blue}')");
      return pull(tx, { appId: "shop", cursor, pageSize });
    });
    pages.push(page.changes.filter(({ table }) => table === "lists"));
    cursor = page.cursor;
    isLast = isOver && !page.has_more;
    // Rarely enough that several transactions get their numbers at once.
    if (!page.has_more && !isOver) await pause(100);
  }
  return pages;
}

const open = postgres();

it("the log is an order of whole transactions in which each comes behind all that it read and overwrote", async () => {
  const t = await open();
  await t.db.query("create table lists (id int primary key, team text not null, items int[] not null default '{}')");
  await syncTable(t.db, "lists", "space_column => 'team'");
  for (const key of keys) await t.db.query("insert into lists (id, team) values ($1, $2)", [key, spaceOf(key)]);
  await sequence(t.db);
  const pools = await Promise.all([t.connect(), t.connect()]);
  const endsAt = Date.now() + durationMs;
  let writing = true;
  const following = [1, 7].map((pageSize) => follow(t.db, pageSize, () => writing));
  const histories = (
    await Promise.all(Array.from({ length: writers }, (_, nth) => write(pools[nth % 2] as Database, endsAt)))
  ).flat();
  // Whoever finds a follower giving numbers leaves that to it: so this is the end when nothing waits for one.
  await until(async () => {
    await sequence(t.db);
    return (await t.db.query("select from perch.captured_changes limit 1")).length === 0;
  }, "everything to have its number");
  writing = false;
  expect(histories.length).toBeGreaterThan(20);

  // The order in which each list was written: what was undone is in none, what was committed is there once.
  const lists = new Map<number, number[]>();
  for (const { id, items } of await t.db.query<{ id: number; items: number[] }>("select id, items from lists"))
    lists.set(id, items);
  const writerOf = new Map<number, string>();
  for (const { txid, operations } of histories)
    for (const { value } of operations) if (value !== undefined) writerOf.set(value, txid);
  expect([...lists.values()].flat().sort((a, b) => a - b)).toEqual([...writerOf.keys()].sort((a, b) => a - b));

  for (const pages of await Promise.all(following)) {
    // A transaction is in one page, and nothing of another between what it did to a space.
    const log = pages.flat();
    const pageOf = new Map<string, number>();
    for (const [nth, page] of pages.entries())
      for (const { space_id, txid } of page) {
        const part = `${space_id} ${txid}`;
        expect(pageOf.get(part) ?? nth, `the page of ${part}`).toBe(nth);
        pageOf.set(part, nth);
      }
    for (const space of spaces) {
      const entries = log.filter(({ space_id }) => space_id === space);
      const order = new Map<string, number>();
      for (const [nth, { txid }] of entries.entries()) {
        if (order.has(String(txid))) expect(String(entries[nth - 1]?.txid)).toBe(String(txid));
        else order.set(String(txid), order.size);
      }
      // Each entry adds to its list what its transaction appended, and nothing else.
      const held = new Map<number, number[]>();
      for (const { op, id, txid, data } of entries) {
        const items = (data as { items: number[] }).items;
        if (op !== "insert") {
          const added = items.at(-1) as number;
          expect(items).toEqual([...(held.get(Number(id)) ?? []), added]);
          expect(writerOf.get(added)).toBe(String(txid));
        }
        held.set(Number(id), items);
      }
      const here = keys.filter((key) => spaceOf(key) === space);
      expect(here.map((key) => held.get(key))).toEqual(here.map((key) => lists.get(key)));
      // Whoever read a value, and then wrote, comes behind its writer; whoever kept a list from being written, before the writer of what
      // came next.
      for (const { txid, operations } of histories) {
        const place = order.get(txid);
        if (place === undefined) continue;
        const lastWrite = operations.findLastIndex(({ value }) => value !== undefined);
        for (const [nth, { key, list, value, locked }] of operations.entries()) {
          if (spaceOf(key) !== space) continue;
          const whole = lists.get(key) ?? [];
          expect(list, `a list that ${txid} read`).toEqual(whole.slice(0, list.length));
          const before = writerOf.get(list.at(value === undefined ? -1 : -2) ?? 0);
          const next = writerOf.get(whole[list.length] ?? 0);
          if (before !== undefined && nth <= lastWrite)
            expect(order.get(before), `${before}, which ${txid} read`).toBeLessThanOrEqual(place);
          if (locked && next !== undefined)
            expect(order.get(next), `${next}, which waited for ${txid}`).toBeGreaterThanOrEqual(place);
        }
      }
    }
  }
});
