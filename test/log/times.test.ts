import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { datetime as datetimeKind } from "../../src/documents/loro/kinds/datetime.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { codes, insert, pull, push, records, remove, update } from "./support.js";

/** Times that a cast of Postgres takes, or fails at, and that nobody means. */
const noTimes = [
  "0001-01-01T00:00:00 BC Z",
  "4713-01-01T00:00:00 BC Z",
  "2026-01-01T00:00:00 PM Z",
  "2026-01-01T00:00:00 Sat Z",
  "2026-01-01T10:00:00+16:00",
  "2026-01-01T10:00:00-15:60",
  "2026-01-01T10:00:00EST5EDTZ",
  "2026-01-01T10:00:00Europe/BerlinZ",
  "0000-01-01T00:00:00Z",
  "10000-01-01T00:00:00Z",
  "2026-01-01T24:00:00Z",
  "2026-01-01T10:00:60Z",
  "2026-02-29T10:00:00Z",
  "1900-02-29T10:00:00Z",
  "2026-01-01T10:00:00.1234567890Z",
  "٢٠٢٦-01-01T10:00:00Z",
  "2026-01-01T10:00:00Z\n",
  " 2026-01-01T10:00:00Z",
  "2026-01-01 10:00:00Z",
  "2026-01-01t10:00:00z",
];
/** Dates that somebody may have, and at which no change was made. */
const before1970 = ["1969-12-31T23:59:59Z", "1970-01-01T00:00:00+01:00", "0001-01-01T00:00:00Z"];

const two = (min: number, max: number) => fc.integer({ min, max }).map((n) => String(n).padStart(2, "0"));
const few = <T>(usual: fc.Arbitrary<T>, ...odd: T[]) =>
  fc.oneof({ weight: 12, arbitrary: usual }, { weight: 1, arbitrary: fc.constantFrom(...odd) });

/** Mostly times, with a slip here and there. */
const timeText = fc
  .tuple(
    few(
      fc.integer({ min: 0, max: 9999 }).map((n) => String(n).padStart(4, "0")),
      "1969",
      "1970",
      "2000",
      "2100",
      "9999",
      "10000",
      "26",
    ),
    few(two(1, 12), "00", "13", "1"),
    few(two(1, 31), "00", "32", "29"),
    few(fc.constantFrom("T"), "", " ", "t"),
    few(two(0, 23), "24", "7"),
    few(two(0, 59), "60"),
    few(
      fc.oneof(
        fc.constant(""),
        two(0, 59).map((s) => `:${s}`),
      ),
      ":60",
    ),
    few(fc.oneof(fc.constant(""), fc.stringMatching(/^\.[0-9]{1,9}$/)), ".", ".1234567891"),
    few(
      fc.oneof(
        fc.constant("Z"),
        fc.tuple(fc.constantFrom("+", "-"), two(0, 15), fc.constantFrom("", ":00", "59")).map((o) => o.join("")),
      ),
      "",
      "+16",
      "z",
      " BC Z",
      "EST",
      "+5",
    ),
  )
  .map(([year, month, day, t, hour, minute, second, fraction, zone]) =>
    t === ""
      ? `${year}-${month}-${day}`
      : `${year}-${month}-${day}${t}${hour}:${minute}${second}${second && fraction}${zone}`,
  );

describeEachEngine("A time", (open) => {
  let t: TestDatabase;
  let user = 0;
  beforeAll(async () => {
    t = await open();
    await t.db.query(`select perch.declare_table('todo', 'events', '{"due": "datetime"}')`);
  });
  const asNew = <T>(work: Parameters<typeof t.asUser<T>>[1]) => t.asUser(`user${++user}`, work);

  it("that is none is refused as a change's, as a field's and as a document's, alone and among others", async () => {
    for (const time of [...noTimes, ...before1970, "2026-01-01"]) {
      await asNew(async (tx) => {
        for (const change of [
          insert("x", { n: 1 }, { at: time }),
          update("x", { n: 1 }, { at: time }),
          remove("x", { at: time }),
          insert("x", { n: 1 }, { field_meta: { n: time } }),
          insert("x", { n: 1, m: 1 }, { field_meta: { n: time, m: "2026-01-01T10:00:00Z" } }),
        ]) {
          expect(codes(await push(tx, [change])), JSON.stringify(change)).toEqual(["PE422"]);
          expect(codes(await push(tx, [insert("good"), change, insert("better")]))).toEqual([
            "applied",
            "PE422",
            "applied",
          ]);
        }
        if (!noTimes.includes(time)) return;
        const event = { op: "insert", table: "events", id: "e", data: { due: time } };
        expect(codes(await push(tx, [insert("good"), event])), time).toEqual(["applied", "PE422"]);
        expect(datetimeKind.fits(time), time).toBe(false);
      });
    }
  });

  it("before Christ empties nobody's record, and freezes no field", async () => {
    await asNew(async (tx) => {
      const bc = "4713-01-01T00:00:00 BC Z";
      await push(tx, [insert("x", { title: "mine" }, { at: "2026-01-01T10:00:00Z" })]);
      await push(tx, [remove("x", { at: bc })]);
      await push(tx, [update("x", { title: "EVE" }, { at: bc })]);
      await push(tx, [update("x", { title: "EVE" }, { field_meta: { title: bc } })]);
      await push(tx, [update("x", { title: "later" }, { at: "2026-01-02T10:00:00Z" })]);
      expect(Object.values(await records(tx))).toEqual([{ title: "later" }]);
      expect((await pull(tx)).changes.map(({ op }) => op)).toEqual(["insert", "update"]);
    });
  });

  it("that is accepted has a stamp whose byte order is the order of time, and is one to TypeScript too", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(timeText, { minLength: 30, maxLength: 30 }), async (texts) => {
        const rows = await t.db.query<{ text: string; datetime: boolean; time: boolean }>(
          "select t as text, perch.is_datetime(t) as datetime, perch.is_time(t) as time from unnest($1::text[]) t",
          [texts],
        );
        for (const { text, datetime, time } of rows) {
          expect(datetimeKind.fits(text), text).toBe(datetime);
          if (time) expect(datetime, text).toBe(true);
        }
        // The cast takes them all.
        await t.db.query("select t::timestamptz from unnest($1::text[]) t", [
          rows.filter(({ datetime }) => datetime).map(({ text }) => text),
        ]);
        const accepted = rows.filter(({ time }) => time).map(({ text }) => text);
        const sorted = await t.db.query<{ same: boolean }>(
          `with stamped as (
             select t::timestamptz as moment, perch.stamp(t::timestamptz, '') as stamp from unnest($1::text[]) t
              -- 9999-12-31T23:59:59.9999999Z is rounded up; what is later than now is set back before it is stamped.
              where t::timestamptz < '9999-12-31T00:00:00Z')
           select array(select s.stamp from stamped s order by s.moment) = array(select s.stamp from stamped s order by s.stamp collate "C")
              and not exists (select from stamped s where length(s.stamp) <> 28 or left(s.stamp, 27)::timestamptz <> s.moment) as same`,
          [accepted],
        );
        expect(sorted).toEqual([{ same: true }]);
      }),
      { numRuns: 40 },
    );
  });

  it("that no stamp holds is refused by the stamp itself", async () => {
    for (const moment of ["0001-12-31 BC", "10000-01-01", "infinity", "-infinity"])
      await expect(t.db.query("select perch.stamp($1::timestamptz, 'x')", [moment]), moment).rejects.toMatchObject({
        code: "PE422",
      });
  });

  describe("of a document's field", () => {
    it("may be any date of the years 1 to 9999, alone or with a time and its offset", async () => {
      await asNew(async (tx) => {
        for (const due of [
          "0001-01-01",
          "1932-02-29",
          "9999-12-31",
          "1969-12-31T23:59Z",
          "2026-01-01T10:00:00.123456789+1559",
        ]) {
          const event = { op: "update", table: "events", id: "e", data: { due } };
          expect(codes(await push(tx, [event])), due).toEqual(["applied"]);
          expect(datetimeKind.fits(due), due).toBe(true);
        }
      });
      const patched = asNew((tx) =>
        tx.query(`select perch.patch_document('todo', 'events', 'e', '{"due": "0000-01-01"}')`),
      );
      await expect(patched).rejects.toMatchObject({ code: "PE422" });
    });
  });
});
