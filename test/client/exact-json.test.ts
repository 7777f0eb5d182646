import fc from "fast-check";
import { expect, it } from "vitest";
import { compareDecimals, decimalOf } from "../../src/client/decimal.js";
import { ExactNumber, exactJson } from "../../src/client/exact-json.js";
import { compareText } from "../../src/client/jsonb-order.js";
import { as, testServer } from "./support.js";

it("keeps what a double cannot hold, and leaves everything else as JSON.parse has it", () => {
  const text =
    '{"a":9007199254740993,"b":[1e400,-0.1000000000000000055],"c":"9007199254740993","d":1.50,"e":"\\"12345678901234567890"}';
  const value = exactJson.parse(text) as Record<string, unknown>;
  expect(value).toEqual({
    a: new ExactNumber("9007199254740993"),
    b: [new ExactNumber("1e400"), new ExactNumber("-0.1000000000000000055")],
    c: "9007199254740993",
    d: 1.5,
    e: '"12345678901234567890',
  });
  expect(exactJson.stringify(value)).toBe(text.replace("1.50", "1.5"));
  expect([Number(value.a), String(value.a)]).toEqual([9007199254740992, "9007199254740993"]);
});

it("is JSON for everything that JSON.stringify writes", () => {
  fc.assert(
    fc.property(fc.json({ noUnicodeString: false }), (text) => {
      expect(exactJson.parse(text)).toEqual(JSON.parse(text));
      expect(exactJson.stringify(exactJson.parse(text))).toBe(JSON.stringify(JSON.parse(text)));
    }),
  );
});

it("writes and reads every integer exactly", () => {
  fc.assert(
    fc.property(fc.bigInt(), (n) => {
      expect(exactJson.stringify(exactJson.parse(`[${n}]`))).toBe(`[${n}]`);
    }),
  );
});

it("orders numbers by value, however they are written, and text by its bytes", () => {
  fc.assert(
    fc.property(
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      (a, b) => {
        expect(Math.sign(compareDecimals(decimalOf(String(a)), decimalOf(String(b))))).toBe(a < b ? -1 : a > b ? 1 : 0);
      },
    ),
  );
  expect(compareDecimals(decimalOf("10e-1"), decimalOf("1.000"))).toBe(0);
  expect(compareDecimals(decimalOf("-1.0"), decimalOf("-1"))).toBe(0);
  expect(compareDecimals(decimalOf("-0"), decimalOf("0"))).toBe(0);
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "binary" }), (a, b) => {
      expect(Math.sign(compareText(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
  );
});

it("takes numbers to the server and back with all their digits", async () => {
  const server = await testServer();
  const client = as("ada", server, { json: exactJson });
  const data = { n: new ExactNumber("9007199254740993"), list: [new ExactNumber("0.12345678901234567890123")] };
  await client.push({ appId: "exact", changes: [{ op: "insert", table: "t", id: "1", data }] });
  const [stored] = await server.db.query("select data::text from perch.records where app_id = 'exact'");
  expect(stored).toEqual({ data: '{"n": 9007199254740993, "list": [0.12345678901234567890123]}' });
  expect((await client.pull({ appId: "exact" })).changes[0]?.data).toEqual(data);
  for await (const event of client.follow({ appId: "exact" })) {
    expect(event).toMatchObject({ changes: [{ data }] });
    break;
  }
});
