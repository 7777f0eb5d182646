import { expect, it } from "vitest";
import { describeEachEngine } from "../support/databases.js";

describeEachEngine("The hint of an error", (open) => {
  it("follows from what it says to programs, unless it has one of its own", async () => {
    const t = await open();
    const hintOf = async (call: string) =>
      t.db.query(`select ${call}`).then(
        () => "no error",
        (error: { hint?: string }) => error.hint,
      );
    expect(await hintOf("perch.fail('PE422', 'no', '{}')")).toBeFalsy();
    expect(await hintOf("perch.fail('PE422', 'no')")).toBeFalsy();
    expect(await hintOf("perch.fail('PE422', 'no', '{\"expected\": \"x\"}', 'Do this.')")).toBe("Do this.");
    expect(await hintOf("perch.check_count(0)")).toBe("Expected for max_count: 1 to 10000.");
    expect(await hintOf("perch.set_limit('nothing', 1)")).toMatch(/^Expected for name: clock_tolerance_ms, /);
    expect(await hintOf("perch.check_id(repeat('x', 300), 'app_id')")).toBe("At most 256 may be given.");
    expect(await hintOf("perch.fail('PE413', 'long', '{\"limit\": \"max_patch_bytes\", \"max\": 5}')")).toBe(
      "Send less at once; or let a DBA raise the limit: select perch.set_limit(name => 'max_patch_bytes', value => …).",
    );
    expect(await hintOf("perch.fail('PE404', 'gone', '{\"id\": 1}')")).toMatch(/^Check its ids/);
  });
});
