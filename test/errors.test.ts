import { describe, expect, it } from "vitest";
import { readable } from "../src/cli/readable.js";
import { PerchError, toPerchError } from "../src/errors.js";

describe("PerchError", () => {
  it("starts its message with the word of its code, once", () => {
    expect(new PerchError("PE410", "too old").message).toBe("resync_required: too old");
    expect(new PerchError("PE410", "resync_required: too old").message).toBe("resync_required: too old");
  });

  it("is made from a database's error with one of perch's codes", () => {
    const raised = Object.assign(new Error("too_large: 3 MB"), { code: "PE413", detail: '{"limit":"update_bytes"}' });
    const error = toPerchError(raised);
    expect(error).toMatchObject({ code: "PE413", word: "too_large", detail: { limit: "update_bytes" }, cause: raised });
    expect(toPerchError(error)).toBe(error);
  });

  it("keeps a detail that is not JSON, and has null for none", () => {
    expect(toPerchError({ code: "PE422", message: "invalid: x", detail: "not json" })?.detail).toBe("not json");
    expect(toPerchError({ code: "PE422", message: "invalid: x" })?.detail).toBe(null);
  });

  it("has the database's hint, what to do, where there is one", () => {
    expect(toPerchError({ code: "PE422", message: "invalid: x", hint: "Pass y." })?.hint).toBe("Pass y.");
    expect(toPerchError({ code: "PE422", message: "invalid: x", hint: "" })).not.toHaveProperty("hint");
  });

  it("is not made from anything else", () => {
    for (const other of [
      new Error("x"),
      { code: "23505" },
      { code: "toString" },
      { code: "PE999" },
      "PE422",
      null,
      undefined,
    ]) {
      expect(toPerchError(other)).toBe(undefined);
    }
  });
});

it("a line of the log on a terminal says what happened, why, and to what", () => {
  const line = {
    level: 40,
    time: 1,
    msg: "merging failed",
    err: { message: "no room" },
    document: "a/b/c",
    failures: 3,
  };
  expect(readable(JSON.stringify(line))).toBe("warn: merging failed: no room (document a/b/c, failures 3)\n");
  expect(readable('{"level":30,"msg":"stopping"}')).toBe("info: stopping\n");
  const hostile = {
    level: 40,
    msg: "refused",
    document: "a\u001b]0;owned\u0007\u009b2J",
    err: { message: "no\u001b[1A" },
  };
  expect(readable(JSON.stringify(hostile))).toBe(
    "warn: refused: no\\u001b[1A (document a\\u001b]0;owned\\u0007\\u009b2J)\n",
  );
});
