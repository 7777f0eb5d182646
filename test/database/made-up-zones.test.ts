import { beforeAll, expect, it } from "vitest";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";

describeBothKinds("a text that is read as times", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });
  const isMadeUp = async (text: string) => {
    const [row] = await t.db.query<{ is: boolean }>("select perch.has_made_up_zone($1) as is", [text]);
    return row?.is;
  };

  it.each([
    "2026-01-01T10:00:00Z",
    "2026-01-01t10:00:00.123456+05:30",
    "20260101T101112Z",
    "2026-01-01 10:00:00+05:30",
    "2026-01-01 10:00 Europe/Berlin",
    "2026-01-01 10:00 America/Port-au-Prince",
    "2026-01-01 10:00 UTC+5",
    "2026-01-01 10:00 Etc/GMT-14",
    "2026-01-01 10:00 EST5EDT",
    "Thu Jan 1 10:00:00 2026 PST",
    "Jan-01-2026",
    "01-Jan-2026",
    "2026-January-01",
    "January 8, 99 BC",
    "J2451187",
    "2026-01-01 04:05:06 PM",
    "2026-01-01 04:05AM",
    "infinity",
    "now",
    "[2026-01-01 10:00,2026-01-02T11:00:00Z)",
    '{"2026-01-01T10:00:00Z",2026-01-02T10:00:00Z}',
  ])("names no zone that was made up: %s", async (text) => {
    expect(await isMadeUp(text)).toBe(false);
    // It is one that Postgres reads, but where it is more than one.
    if (!/[[{]/.test(text)) await t.db.query("select $1::timestamptz", [text]);
  });

  it.each([
    "2026-01-01 abc5",
    "2026-01-01 abc+5",
    "2026-01-01 10:00abc5",
    "2026-01-01 abc-5T5",
    "2026-01-01 a/jan5 ",
    "2026-01-01 abc1 jan 5",
    "2026-01-01 abc-1-jan-5",
    "2026-01-01 jan5/abc",
    "2026-01-01 jan5/9:30:15",
    "2026-01-01 utc+5/xyz",
    "2026-01-01 utc+5:30:11",
    "2026-01-01 abcest5edt",
    "2026-01-01 est5edt/abc",
    "2026-01-01 janxyz5 10:00",
    "2026-01-01T10:00:00abc5",
    "<A1x>5",
    "[2026-01-01 10:00 abc5,)",
    '{"2026-01-01T10:00:00Z","2026-01-01 abc5"}',
  ])("names one that was made up: %s", async (text) => {
    expect(await isMadeUp(text)).toBe(true);
  });
});
