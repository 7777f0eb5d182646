import { describe, expect, it } from "vitest";
import { parseNotification } from "../../src/notifications/parse.js";

describe("a notification", () => {
  const document = { v: 1, space_id: "team", app_id: "notes", table: "pages", id: "p1", seq: 7 };

  it("is read as what it tells of", () => {
    expect(parseNotification("perch_documents", JSON.stringify(document))).toEqual({
      channel: "perch_documents",
      key: { spaceId: "team", appId: "notes", tableName: "pages", recordId: "p1" },
      seq: 7,
    });
    expect(parseNotification("perch_documents", JSON.stringify({ ...document, refused_after: 5 }))).toMatchObject({
      seq: 7,
      refusedAfter: 5,
    });
    expect(parseNotification("perch_changes", '{"v":1,"space_id":"team","seq":3}')).toEqual({
      channel: "perch_changes",
      spaceId: "team",
      seq: 3,
    });
  });

  it("of presence says how far it has come, or that a node is new", () => {
    const presence = { channel: "perch_presence", seq: undefined, node: false };
    expect(parseNotification("perch_presence", '{"v":1,"seq":4}')).toEqual({ ...presence, seq: 4 });
    expect(parseNotification("perch_presence", '{"v":1,"node":true}')).toEqual({ ...presence, node: true });
  });

  it("that anybody made up is no notification, and no error", () => {
    const forged = [
      "",
      "null",
      "[]",
      "{",
      '{"v":2,"space_id":"team","seq":1}',
      JSON.stringify({ ...document, seq: -1 }),
      JSON.stringify({ ...document, seq: "7" }),
      JSON.stringify({ ...document, seq: 1e300 }),
      JSON.stringify({ ...document, id: "x".repeat(5_000) }),
      JSON.stringify({ ...document, table: null }),
      JSON.stringify({ ...document, refused_after: "5" }),
    ];
    for (const payload of forged) {
      expect(parseNotification("perch_documents", payload)).toBeUndefined();
      if (!payload.includes("space_id")) expect(parseNotification("perch_changes", payload)).toBeUndefined();
    }
    const presence = ["{}", '{"v":2,"seq":1}', '{"v":1,"seq":-1}', '{"v":1,"seq":5.5}', '{"v":1,"node":1}'];
    for (const payload of presence) expect(parseNotification("perch_presence", payload)).toBeUndefined();
    expect(parseNotification("toString", JSON.stringify(document))).toBeUndefined();
    expect(parseNotification("elsewhere", JSON.stringify(document))).toBeUndefined();
  });
});
