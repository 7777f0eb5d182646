import { z } from "zod";
import {
  changeOrCallSchema,
  logAnswerSchema,
  logSnapshotAnswerSchema,
  pullAnswerSchema,
  pushAnswerSchema,
  snapshotAnswerSchema,
} from "../log/schemas.js";
import { calls } from "./calls.js";
import { consoleActionBody, consoleQuery, views } from "./console/views.js";
import {
  documentAnswer,
  documentQuery,
  historyAnswer,
  historyQuery,
  patchAnswer,
  patchBody,
} from "./document-requests.js";
import { readLogBody, readLogSnapshotBody } from "./reader.js";
import { shapeMessages, shapeProblem, shapeQuery, shapeSubsetAnswer } from "./shape/schemas.js";
import { subsetBody } from "./shape/subset.js";
import type { QueryShape } from "./shapes.js";
import {
  acceptBody,
  invitationAnswer,
  invitationBody,
  memberBody,
  newSpaceBody,
  revokedAnswer,
  spaceAnswer,
  spaceIdAnswer,
  spacesAnswer,
  spacesQuery,
} from "./spaces.js";
import { streamQuery } from "./streams/page.js";

/** What can be asked for over HTTP: by this requests are read, and the OpenAPI document is made of it. */
export interface Operation {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Parts in braces are taken from the request, percent-decoded. */
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  /** Whether it needs a token. */
  readonly authenticated: boolean;
  readonly query?: QueryShape;
  readonly headers?: Readonly<Record<string, z.ZodType>>;
  readonly body?: z.ZodType;
  readonly answer: { readonly type: string; readonly description: string; readonly schema?: z.ZodType };
  /** When the same is answered with status 202. */
  readonly accepted?: string;
  /** Whether it is answered with nothing else. */
  readonly isOnlyAccepted?: true;
  /** The statuses of problems that it may be answered with, besides those of every request. */
  readonly problems: readonly number[];
  /** Of a protocol that is not ours: what it says of problems. */
  readonly problemSchema?: z.ZodType;
}

const json = (schema: z.ZodType, description: string) => ({ type: "application/json", description, schema });
const healthy = (status: string) => json(z.object({ status: z.literal(status) }), "It is.");

/** Of a change the database judges the meaning; it rejects a malformed one alone. */
const pushBody = calls.push.body.extend({ changes: z.array(changeOrCallSchema) });

const document = "/v1/documents/{space}/{app}/{table}/{record}";
const space = "The space ~ is the user's personal one.";

const spacePath = "/v1/spaces/{space}";

const ofLog = [401, 403, 410, 413, 422, 429] as const;

export const operations = {
  push: {
    method: "POST",
    path: "/v1/push",
    summary: "Appends changes to the log.",
    description:
      "One result for each change, in their order; a bad change is rejected alone, the others apply. With atomic all apply or none: those at fault have their errors, the others PE409 with the reason aborted. A change may call a function of the app by name; its result then has what that returned.",
    authenticated: true,
    body: pushBody,
    answer: json(pushAnswerSchema, "A result for each change."),
    problems: [401, 413, 422, 429],
  },
  pull: {
    method: "POST",
    path: "/v1/pull",
    summary: "The changes after a cursor.",
    description:
      "Pull again while has_more. 410: the log does not go on from the cursor; detail.spaces need a snapshot.",
    authenticated: true,
    body: calls.pull.body,
    answer: json(pullAnswerSchema, "A page of changes."),
    problems: ofLog,
  },
  snapshot: {
    method: "POST",
    path: "/v1/snapshot",
    summary: "The live records of a space, and a cursor from which pulling misses nothing.",
    authenticated: true,
    body: calls.snapshot.body,
    answer: json(snapshotAnswerSchema, "A page of records; pass next as after until it is null."),
    problems: ofLog,
  },
  changes: {
    method: "GET",
    path: "/v1/changes",
    summary: "The changes after a cursor, and then those that happen, as Server-Sent Events.",
    description:
      "Event changes: what pull answers; its id is where to go on, in Last-Event-ID or cursor. Event problem: as the body of a failed request; the stream ends after it. 410 (the log does not go on from the cursor) is such an event, always.",
    authenticated: true,
    query: streamQuery,
    headers: { "Last-Event-ID": z.string().optional().describe("the id of the last event: goes on behind it") },
    answer: { type: "text/event-stream", description: "Events, for as long as they are read." },
    problems: [401, 413, 422, 429],
  },
  readLog: {
    method: "POST",
    path: "/v1/log",
    summary: "For services: the changes of their apps in all spaces after a cursor, in one order.",
    description:
      "For tokens with the claim perch_reader, which names a reader that a DBA has registered (perch.register_reader). With wait_ms it waits where there is nothing new. 410: it does not go on from the cursor, or there is none yet: take /v1/log/snapshot.",
    authenticated: true,
    body: readLogBody,
    answer: json(logAnswerSchema, "A page of changes; read on at once while has_more."),
    problems: ofLog,
  },
  readLogSnapshot: {
    method: "POST",
    path: "/v1/log/snapshot",
    summary:
      "For services: the live records of their apps in all spaces, and a cursor from which /v1/log misses nothing.",
    authenticated: true,
    body: readLogSnapshotBody,
    answer: json(logSnapshotAnswerSchema, "Records of one space and app; pass next as after until it is null."),
    problems: ofLog,
  },
  readDocument: {
    method: "GET",
    path: document,
    summary: "A document as plain JSON, now or at an earlier position.",
    description: `${space} 404 also when there is no such document, or it never came to that position; 410 when the position is no longer told apart from those around it, with detail.earlier_seq and detail.later_seq.`,
    authenticated: true,
    query: documentQuery,
    answer: json(documentAnswer, "The document."),
    problems: [401, 403, 404, 410, 422, 429],
  },
  patchDocument: {
    method: "PATCH",
    path: document,
    summary: "Merges a JSON patch into a document, which is made if there is none.",
    description: `${space} An absent field is kept, null clears it, a text is the wanted text, a counter takes a delta, list, movable_list, map and tree take the wanted value. base_seq is the position the patch was based on: it is merged there, so that it undoes no concurrent edit. With op_id a repeat is answered as the first time.`,
    authenticated: true,
    body: patchBody,
    answer: json(patchAnswer, "The position of the patch, to be used as base_seq of the next."),
    accepted: "It is stored, and no worker has merged it yet.",
    problems: [401, 403, 404, 409, 410, 413, 422, 429],
  },
  documentHistory: {
    method: "GET",
    path: `${document}/history`,
    summary: "Who changed a document when, the latest first.",
    description: `${space} One version is a stretch of updates of one author without a pause of more than a minute.`,
    authenticated: true,
    query: historyQuery,
    answer: json(historyAnswer, "A page of versions."),
    problems: [401, 403, 404, 422, 429],
  },
  listSpaces: {
    method: "GET",
    path: "/v1/spaces",
    summary: "The spaces that the user may read, and as what.",
    authenticated: true,
    query: spacesQuery,
    answer: json(spacesAnswer, "A page of spaces; pass next as after until it is null."),
    problems: [401, 422, 429],
  },
  createSpace: {
    method: "POST",
    path: "/v1/spaces",
    summary: "Makes a shared space; the user becomes its owner.",
    description: "The id is the client's to choose, so that a repeat is harmless.",
    authenticated: true,
    body: newSpaceBody,
    answer: json(spaceIdAnswer, "The space."),
    problems: [401, 409, 413, 422, 429],
  },
  readSpace: {
    method: "GET",
    path: spacePath,
    summary: "The members of a space; for its owners also the open invitations.",
    description: "A space that is managed by tokens has no members here.",
    authenticated: true,
    query: spacesQuery,
    answer: json(spaceAnswer, "A page of members; pass next as after until it is null."),
    problems: [401, 403, 422, 429],
  },
  setMember: {
    method: "PUT",
    path: `${spacePath}/members/{user}`,
    summary: "Adds a member to a space, or changes the role; for its owners.",
    authenticated: true,
    body: memberBody,
    answer: json(spaceIdAnswer, "The space."),
    problems: [401, 403, 409, 413, 422, 429],
  },
  removeMember: {
    method: "DELETE",
    path: `${spacePath}/members/{user}`,
    summary: "Removes a member from a space, for its owners; or lets the user leave it.",
    authenticated: true,
    answer: json(spaceIdAnswer, "The space."),
    problems: [401, 403, 409, 422, 429],
  },
  invite: {
    method: "POST",
    path: `${spacePath}/invitations`,
    summary: "Makes an invitation to a space, to be put into a link; for its owners.",
    description: "It is shown this once. Whoever is signed in and accepts it becomes a member with this role.",
    authenticated: true,
    body: invitationBody,
    answer: json(invitationAnswer, "The invitation."),
    problems: [401, 403, 413, 422, 429],
  },
  revokeInvitations: {
    method: "DELETE",
    path: `${spacePath}/invitations`,
    summary: "Takes all open invitations to a space back; for its owners. Members that they made stay.",
    authenticated: true,
    answer: json(revokedAnswer, "How many there were."),
    problems: [401, 403, 422, 429],
  },
  revokeInvitation: {
    method: "DELETE",
    path: `${spacePath}/invitations/{invitation}`,
    summary: "Takes an invitation back, by the id that the space lists; for its owners.",
    authenticated: true,
    answer: json(revokedAnswer, "1, or 0 when there was none."),
    problems: [401, 403, 422, 429],
  },
  acceptInvitation: {
    method: "POST",
    path: "/v1/invitations",
    summary: "Makes the user a member of the space that an invitation is for.",
    description: "Whoever is a member already keeps the role. 404: it is unknown, used up, revoked or expired.",
    authenticated: true,
    body: acceptBody,
    answer: json(spaceIdAnswer, "The space."),
    problems: [401, 404, 422, 429],
  },
  shape: {
    method: "GET",
    path: "/v1/shape",
    summary: "A live subset of a synced table, by Electric's HTTP protocol, version 1.",
    description:
      "Begin with offset=-1, go on with the answer's electric-handle and electric-offset, and with live=true once it is up to date. 409 (must-refetch): begin anew. Problems are in that protocol's form: message, and errors by parameter.",
    authenticated: true,
    query: shapeQuery,
    answer: json(shapeMessages, "Operations and control messages; see docs/shapes.md."),
    problems: [400, 401, 409, 429],
    problemSchema: shapeProblem,
  },
  shapeSubset: {
    method: "POST",
    path: "/v1/shape",
    summary: "Rows of a shape as they are now, beside its log.",
    description:
      "The query names the shape, as for GET; the body says which of its rows. GET takes the same as subset__where, subset__params (JSON), subset__limit, subset__offset and subset__order_by.",
    authenticated: true,
    query: shapeQuery,
    body: subsetBody,
    answer: json(shapeSubsetAnswer, "The rows, and the snapshot that they were read in."),
    problems: [400, 401, 409, 429],
    problemSchema: shapeProblem,
  },
  forgetShape: {
    method: "DELETE",
    path: "/v1/shape",
    summary: "Begins all shapes of a table anew; in development mode, of tables that it synced.",
    authenticated: true,
    query: { table: shapeQuery.table.optional(), handle: shapeQuery.handle },
    answer: json(z.object({}), "Nothing more."),
    isOnlyAccepted: true,
    accepted: "Their readers are told to fetch everything again.",
    problems: [400, 401, 404, 405, 429],
    problemSchema: shapeProblem,
  },
  shapeHealth: {
    method: "GET",
    path: "/v1/health",
    summary: "Whether shapes are served, in the form of Electric's HTTP protocol.",
    authenticated: false,
    answer: json(
      z.object({ status: z.enum(["active", "waiting"]) }),
      "active; waiting, with status 202, while it is not.",
    ),
    problems: [],
  },
  consoleSession: {
    method: "GET",
    path: "/v1/console",
    summary: "How one signs in to the console.",
    description: "none: development mode, a token is a plain user id. token: by a token with the claim perch_role.",
    authenticated: false,
    answer: json(z.object({ sign_in: z.enum(["none", "token"]) }), "How."),
    problems: [404],
  },
  consoleView: {
    method: "GET",
    path: "/v1/console/{name}",
    summary: "What the console shows: for tokens with the claim perch_role, viewer or admin.",
    description: `For the page at /console/, and of no promised shape. Views: figures, shapes, doctor, content, ${Object.keys(views).join(", ")}.`,
    authenticated: true,
    query: consoleQuery,
    answer: json(z.record(z.string(), z.unknown()), "The view."),
    problems: [401, 403, 404, 410, 422, 429],
  },
  consoleAction: {
    method: "POST",
    path: "/v1/console/{name}",
    summary: "What is done in the console: for tokens with the claim perch_role: admin.",
    description: `With an update that was set aside: retry, discard. With a position of a document: revert. Who did it is kept in perch.console_actions.`,
    authenticated: true,
    body: consoleActionBody,
    answer: json(z.object({ done: z.boolean() }), "Whether there was something to do."),
    problems: [401, 403, 404, 413, 422, 429],
  },
  openapi: {
    method: "GET",
    path: "/openapi.json",
    summary: "This document.",
    authenticated: false,
    answer: json(z.object({ openapi: z.string() }).loose(), "It."),
    problems: [],
  },
  healthz: {
    method: "GET",
    path: "/healthz",
    summary: "Whether the process lives.",
    authenticated: false,
    answer: healthy("ok"),
    problems: [],
  },
  readyz: {
    method: "GET",
    path: "/readyz",
    summary: "Whether this node can serve: it is not stopping, listens, and its database answers and is migrated.",
    authenticated: false,
    answer: healthy("ready"),
    problems: [],
  },
  metrics: {
    method: "GET",
    path: "/metrics",
    summary: "Figures for Prometheus.",
    authenticated: false,
    answer: { type: "text/plain", description: "The text format, version 0.0.4." },
    problems: [],
  },
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof operations;

const routes = Object.entries(operations).map(([name, operation]) => ({
  name: name as OperationName,
  operation: operation as Operation,
  parts: operation.path.split("/"),
}));

export interface Match {
  readonly name: OperationName;
  readonly operation: Operation;
  readonly parts: Readonly<Record<string, string>>;
}

/** The operations of a path, one for each method; none when there is nothing there. */
export function operationsAt(pathname: string): Match[] {
  const given = pathname.split("/");
  return routes.flatMap(({ name, operation, parts }) => {
    const taken = given.length === parts.length ? partsOf(parts, given) : undefined;
    return taken === undefined ? [] : [{ name, operation, parts: taken }];
  });
}

function partsOf(template: readonly string[], given: readonly string[]): Record<string, string> | undefined {
  const taken: Record<string, string> = {};
  for (const [nth, part] of template.entries()) {
    const own = given[nth] ?? "";
    if (!part.startsWith("{")) {
      if (part !== own) return undefined;
      continue;
    }
    try {
      const text = decodeURIComponent(own);
      // No name has that.
      if (text.includes("\0")) return undefined;
      taken[part.slice(1, -1)] = text;
    } catch {
      return undefined;
    }
  }
  return taken;
}
