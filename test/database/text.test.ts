import fc from "fast-check";
import { beforeAll, expect, it } from "vitest";
import { isId, maxUserIdBytes } from "../../src/database/text.js";
import { addressOf } from "../../src/rooms/room-id.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";

/** Letters, and whatever is at an edge of the rule; now and then as long as an id may be, or longer. */
const letters = fc.oneof(
  fc.string({ unit: "binary", maxLength: 4 }),
  fc.constantFrom("\0", "\x01", "\x1f", " ", "~", "\x7f", "\x80", "\ud83d", "\ude00", "😀", "é", "%", "/"),
);
const ids = fc
  .tuple(fc.array(letters, { maxLength: 4 }), fc.constantFrom(0, 0, 250, 252, 255, 256))
  .map(([parts, length]) => "x".repeat(length) + parts.join(""));

describeEachEngine("what an id may be", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });
  const accepts = (sql: string, id: string) =>
    t.db.query(sql, [id]).then(
      () => true,
      (error: { code: string }) => {
        if (!/^PE4(01|13|22)$/.test(error.code)) throw error;
        return false;
      },
    );

  it("is the same for SQL, for tokens and for rooms", async () => {
    await fc.assert(
      fc.asyncProperty(ids, async (id) => {
        expect(await accepts("select perch.check_id($1, 'id')", id)).toBe(isId(id));
        expect(await accepts("select perch.set_context(user_id => $1)", id)).toBe(isId(id, maxUserIdBytes));
        if (id.isWellFormed() && id !== "")
          expect(addressOf(`s/a/t/${encodeURIComponent(id)}`, "ada")?.recordId).toBe(isId(id) ? id : undefined);
      }),
      { numRuns: 150 },
    );
  });
});
