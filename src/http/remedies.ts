/** What helps with most problems of a status, where they say nothing better themselves. */
const byStatus: Readonly<Record<number, string>> = {
  400: "Send the path as GET /openapi.json has it, each part percent-encoded once.",
  401: "Send a token that is valid now, as authorization: Bearer …; a new one where it has expired.",
  403: "Ask an owner of the space, or whoever makes the tokens, for the right to do this.",
  404: "Check the ids, the space among them, and whether it was deleted meanwhile.",
  405: "Use a method that the header Allow names.",
  409: "Read what is there now, and send what fits it.",
  410: "Begin anew from a snapshot; detail says of what.",
  413: "Send, or ask for, less at once.",
  422: "The same is refused again: mend what the message names.",
  426: "Connect with a Loro client: docs/gateway.md shows how.",
  429: "Wait for as long as Retry-After says, and have less under way at once.",
  500: "Look in the server's log for the X-Request-Id of this answer; the same may succeed later.",
  503: "Try again after as long as Retry-After says; GET /readyz says whether the server is well.",
};

/** What to do about a problem that does not say so itself, for people: by its detail, or else what helps with most of its status. */
export function remedyOf({ status, detail }: { readonly status: number; readonly detail: unknown }): string {
  const told = (typeof detail === "object" && detail !== null ? detail : {}) as Record<string, unknown>;
  if (Array.isArray(told.issues)) return "GET /openapi.json says what this request takes.";
  if (typeof told.limit === "string" && typeof told.max === "number")
    return `At most ${told.max} may be given; docs/http.md and perch worker --help have the limits (${told.limit}).`;
  return byStatus[status] ?? "See docs/http.md.";
}
