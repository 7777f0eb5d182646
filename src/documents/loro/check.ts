import type { ContainerID, JsonChange, JsonOp, LoroDoc, PeerID } from "loro-crdt";
import { PerchError } from "../../errors.js";
import type { HeldDocument } from "./cache.js";
import { type DocumentSchema, isScalar, mismatch, scalarRoot } from "./fields.js";
import { kindOfType, parseRootId, scalarRootId } from "./layout.js";
import { describeValue, fitsScalar, scalarExpectations } from "./scalars.js";

export type Spans = ReadonlyMap<PeerID, { start: number; end: number }>;

/** A nested container as an operation's JSON names it. */
const containerPrefix = "🦜:";
/** Root containers that Loro derives from a key of a map ("mergeable" children) carry the path in their name. */
const mergeablePrefix = "🤝:";

/**
 * Whether operations that were just imported keep to the declared fields: looks at the operations alone, so it costs what
 * they cost, whatever the size of the document.
 * Errors: PE422 naming table, field, expected and got; PE413 naming the limit.
 */
export function checkOperations(held: HeldDocument, spans: Spans, limits: { depth: number; updateOps: number }): void {
  let count = 0;
  for (const { start, end } of spans.values()) count += end - start;
  if (count > limits.updateOps) throw tooLarge("update_ops", limits.updateOps, count);
  for (const [peer, { start, end }] of spans) {
    for (const change of readOperations(held.doc, peer, start, end)) {
      for (const op of change.ops) checkOperation(held, op, limits.depth);
    }
  }
}

function readOperations(doc: LoroDoc, peer: PeerID, start: number, end: number): JsonChange[] {
  try {
    return doc.exportJsonInIdSpan({ peer, counter: start, length: end - start });
  } catch (error) {
    if (error instanceof Error && error.name === "RuntimeError") throw error;
    throw new PerchError("PE422", `the update holds a value that JSON cannot: ${String(error)}`, {
      reason: String(error),
    });
  }
}

function checkOperation({ doc, schema, roots }: HeldDocument, op: JsonOp, depth: number): void {
  const { container, content } = op;
  if (content.type === "unknown") throw mismatch(schema, container, "a known operation", "one of a newer Loro");
  if (container === scalarRootId)
    return checkScalar(schema, content as { type: string; key: string; value?: unknown }, depth);
  const root = parseRootId(container);
  if (root && !roots.has(container)) {
    if (!root.name.startsWith(mergeablePrefix)) throw undeclared(schema, root.name, root.type);
    checkMergeable(doc, schema, container, root.name);
  }
  checkNesting(doc, schema, container, content as { value?: unknown; parent?: string }, depth);
}

function checkScalar(
  schema: DocumentSchema,
  { type, key, value }: { type: string; key: string; value?: unknown },
  depth: number,
): void {
  const kind = schema.fields[key];
  if (kind === undefined || !Object.hasOwn(schema.fields, key)) {
    // Taking away what an earlier declaration did not refuse does no harm.
    if (type === "delete") return;
    throw mismatch(schema, key, "a declared field", `an undeclared one in the map ${scalarRoot}`);
  }
  if (type === "delete" || value === null || value === undefined) return;
  if (!isScalar(kind))
    throw mismatch(schema, key, `the ${kind} container of that name`, `a value in the map ${scalarRoot}`);
  if (typeof value === "string" && value.startsWith(`${containerPrefix}cid:`)) {
    throw mismatch(
      schema,
      key,
      scalarExpectations[kind],
      `a ${kindOfType(value.slice(value.lastIndexOf(":") + 1))} container`,
    );
  }
  if (!fitsScalar(kind, value)) throw mismatch(schema, key, scalarExpectations[kind], describeValue(value));
  if (valueDepth(value) > depth) throw tooLarge("depth", depth, valueDepth(value), key);
}

function undeclared(schema: DocumentSchema, name: string, type: string): PerchError {
  const kind = schema.fields[name];
  const got = `a ${kindOfType(type)} container`;
  if (kind === undefined || !Object.hasOwn(schema.fields, name)) return mismatch(schema, name, "a declared field", got);
  return mismatch(schema, name, isScalar(kind) ? `a ${kind} in the map ${scalarRoot}` : `a ${kind} container`, got);
}

/** A child that Loro derives from a map's key: it belongs to the field its path starts with. */
function checkMergeable(doc: LoroDoc, schema: DocumentSchema, container: ContainerID, name: string): void {
  const path = doc.getPathToContainer(container);
  const field = path?.[0] ?? /^🤝:\$([^>]*)/u.exec(name)?.[1];
  if (field === undefined) return;
  const kind = schema.fields[String(field)];
  if (kind === undefined || isScalar(kind))
    throw mismatch(schema, String(field), "a declared container field", "a nested container");
}

/** Depth of what an operation puts into a container: of its value, of a container it creates, of a tree node it places. */
function checkNesting(
  doc: LoroDoc,
  schema: DocumentSchema,
  container: ContainerID,
  content: { value?: unknown; parent?: string },
  depth: number,
): void {
  if (content.value !== undefined && typeof content.value === "object") {
    const got = valueDepth(content.value);
    if (got > depth) throw tooLarge("depth", depth, got);
  }
  // An operation in a root container of a list or map is at depth one: nothing to look up for most of them.
  if (parseRootId(container) && content.parent === undefined) return;
  const path = doc.getPathToContainer(container);
  if (path && path.length > depth) throw tooLarge("depth", depth, path.length, `${schema.table}.${String(path[0])}`);
}

function valueDepth(value: unknown): number {
  let depth = 0;
  let level: unknown[] = [value];
  // By level rather than by recursion: the value may be nested deeper than the stack.
  while (level.some((item) => typeof item === "object" && item !== null)) {
    depth++;
    level = level.flatMap((item) => (typeof item === "object" && item !== null ? Object.values(item) : []));
  }
  return depth;
}

function tooLarge(limit: string, max: number, got: number, field?: string): PerchError {
  const where = field === undefined ? "" : ` in ${field}`;
  return new PerchError("PE413", `${limit} of ${got}${where} is over the limit of ${max}`, {
    limit,
    max,
    got,
    ...(field === undefined ? {} : { field }),
  });
}
