import { expect, it } from "vitest";
import { addressOf } from "../../src/rooms/room-id.js";

it("a room id names space, app, table and record, each percent-encoded", () => {
  expect(addressOf("team/notes/pages/p%2F1%25", "ada")).toEqual({
    spaceId: "team",
    appId: "notes",
    tableName: "pages",
    recordId: "p/1%",
  });
});

it("an empty first part is the personal space of whoever joins", () => {
  expect(addressOf("/notes/pages/p1", "ada")?.spaceId).toBe("~ada");
  expect(addressOf("~ada/notes/pages/p1", "bob")?.spaceId).toBe("~ada");
});

it.each([
  "",
  "a",
  "a/b/c",
  "a/b/c/d/e",
  "a//c/d",
  "a/b//d",
  "a/b/c/",
  "a/b/c/%",
  "a/b/c/%ff",
  "a/b/c/%00",
  "%00/b/c/d",
  "a/b/c/%01",
  "a/b/c%7f/d",
])("%j names no room", (roomId) => {
  expect(addressOf(roomId, "ada")).toBeUndefined();
});
