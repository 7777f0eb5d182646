import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { packageRoot } from "../database/package-root.js";
import { type Operation, operations } from "./operations.js";
import { problemSchema } from "./problems.js";
import { mayRepeat } from "./shapes.js";

type Json = Record<string, unknown>;

const reasons: Record<number, string> = {
  400: "A parameter is wrong.",
  405: "Not in this mode.",
  401: "PE401 unauthenticated: the token is missing, refused or expired.",
  403: "PE403 forbidden: this user may not read or write this space.",
  404: "PE404 not_found.",
  409: "PE409 conflict: the op_id was used for something else.",
  410: "PE410 resync_required.",
  413: "PE413 too_large: over a limit, which the detail names.",
  422: "PE422 invalid: of another shape, or without a meaning; the detail says what.",
  429: "PE429 too_many_requests: this user, address or node has as many connections open as it may, or too much is held for the user.",
  503: "PE503 unavailable: the same again may succeed in a moment; see Retry-After.",
};

/** The OpenAPI 3.1 document of the gateway's HTTP, as JSON text; made of the schemas by which requests are read. */
export function openApiDocument(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as { version: string };
  const paths: Record<string, Json> = {};
  for (const [name, operation] of Object.entries<Operation>(operations)) {
    paths[operation.path] ??= {};
    Object.assign(paths[operation.path] as Json, { [operation.method.toLowerCase()]: describe(name, operation) });
  }
  return JSON.stringify({
    openapi: "3.1.1",
    info: {
      title: "perch",
      version,
      description:
        "The change log and documents over plain HTTP. Loro clients connect to the WebSocket /sync, by the Loro protocol v1.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    paths,
    components: {
      schemas: { Problem: schemaOf(problemSchema, "output") },
      responses: Object.fromEntries(
        Object.keys(reasons).map((status) => [`Problem${status}`, problem(Number(status))]),
      ),
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
        query: { type: "apiKey", in: "query", name: "token", description: "For clients that cannot set headers." },
      },
    },
  });
}

function describe(operationId: string, operation: Operation): Json {
  const { summary, description, authenticated, body, answer } = operation;
  const { type, schema } = answer;
  const content = { [type]: { schema: schema === undefined ? { type: "string" } : schemaOf(schema, "output") } };
  const success = { description: answer.description, content };
  // A web page of another origin may be refused anywhere, and a node may be stopping or without its database.
  const problems = [...new Set<number>([...operation.problems, 403, 503])].sort();
  return {
    operationId,
    summary,
    ...(description !== undefined && { description }),
    security: authenticated ? [{ bearer: [] }, { query: [] }] : [],
    parameters: parametersOf(operation),
    ...(body !== undefined && {
      requestBody: { required: true, content: { "application/json": { schema: schemaOf(body, "input") } } },
    }),
    responses: {
      ...(!operation.isOnlyAccepted && { 200: success }),
      ...(operation.accepted !== undefined && { 202: { ...success, description: operation.accepted } }),
      ...Object.fromEntries(problems.map((status) => [status, problemOf(operation, status)])),
      default: { description: "Any other problem.", content: problemContent },
    },
  };
}

function problemOf({ problemSchema }: Operation, status: number): Json {
  if (problemSchema === undefined) return { $ref: `#/components/responses/Problem${status}` };
  const content = { "application/json": { schema: schemaOf(problemSchema, "output") } };
  return { description: reasons[status], content };
}

function parametersOf({ path, query = {}, headers = {} }: Operation): Json[] {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    ...(name === "space" && { description: "~ is the user's personal space." }),
    schema: { type: "string" },
  }));
  const named = (place: string, types: Readonly<Record<string, z.ZodType>>) =>
    Object.entries(types).map(([name, type]) => ({
      name,
      in: place,
      required: !type.safeParse(undefined).success,
      ...(type.description !== undefined && { description: type.description }),
      ...(mayRepeat(type) && { style: "form", explode: true }),
      schema: schemaOf(type, "output"),
    }));
  return [...inPath, ...named("query", query), ...named("header", headers)];
}

const problemContent = { "application/json": { schema: { $ref: "#/components/schemas/Problem" } } };

function problem(status: number): Json {
  return {
    description: reasons[status],
    ...(status === 503 && { headers: { "Retry-After": { description: "In seconds.", schema: { type: "integer" } } } }),
    content: problemContent,
  };
}

/** What a client sends (`input`) or gets (`output`), without what belongs to a document of its own. */
function schemaOf(type: z.ZodType, io: "input" | "output"): Json {
  const { $schema, description, ...schema } = z.toJSONSchema(type, { io }) as Json;
  return schema;
}
