import type { Allowed } from "./statements.js";

/** The statements of more than a call that src/ still has, by file: for each, why it stands there. */
export const allowed: Allowed = new Map([
  [
    "src/checkpoints/calls.ts",
    ["names the tenant and calls any of the functions of checkpoints, in one round trip and a transaction of its own"],
  ],
  [
    "src/documents/live/queries.ts",
    ["notifies of earlier appends and appends, in one transaction and one round trip: two calls, and no table"],
  ],
  [
    "src/identity/context.ts",
    ["takes the role perch_app, without whose rights a login may not be able to call any function of perch"],
  ],
  [
    "src/shapes/waiters.ts",
    ["asks what has changed, and in which epoch of the log, also where nothing has: two calls, and no table"],
  ],
  ["src/worker/inbox.ts", ["calls perch.finish_inbox for each item of a batch, in their order, in one round trip"]],
]);
