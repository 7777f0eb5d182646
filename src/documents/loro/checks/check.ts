import type { ContainerID, LoroTree, LoroTreeNode, PeerID, TreeID } from "loro-crdt";
import type { PerchError } from "../../../errors.js";
import type { CachedDocument } from "../cache.js";
import { type DocumentSchema, isScalar, scalarRoot } from "../fields.js";
import type { Spans } from "../format/spans.js";
import { toJson } from "../json.js";
import { expectedDelta, isDelta } from "../kinds/counter.js";
import { scalarKinds } from "../kinds/index.js";
import { kindOfType, parseRootId, scalarRootId } from "../layout.js";
import type { DocumentLimits } from "../limits.js";
import { bringUp, takeIn, versionOf } from "../merge.js";
import { isMergeable, parseMergeable } from "../mergeable.js";
import { project } from "../projection.js";
import { describeValue, mismatch, tooLarge } from "../refusals.js";
import { checkStructure, containerPrefix } from "./operations.js";
import { type LoroOperation, readOperations, unreadable } from "./oplog.js";
import { checkPositions } from "./positions.js";
import { weigh } from "./weigh.js";

export type CheckLimits = Pick<DocumentLimits, "depth" | "valueNodes" | "updateOps">;

/** What one check has already looked at. */
interface UpdateCheck {
  held: CachedDocument;
  limits: CheckLimits;
  containers: Set<ContainerID>;
  nodes: Set<TreeID>;
  /** How deep the containers lie at least that the updates make, and in which field. */
  made: Map<string, { depth: number; field: string }>;
  /** What the values come to that the updates write. */
  written: number;
}

/**
 * Imports updates of strangers, and checks that their operations hold together, name places that are there, and keep to the
 * declared fields and limits. Looks at the operations alone, those that lost against others included, so it costs what they cost,
 * whatever the size of the document.
 * In: how they are imported. Out: the operations that were new. Errors: PE422, for what breaks the declaration naming table, field,
 * expected and got; PE413 naming
 * the limit; strings of Loro's. After an error the document is good for nothing any more.
 */
export function takeInChecked(
  held: CachedDocument,
  updates: readonly Uint8Array[],
  limits: CheckLimits,
  take = takeIn,
): Spans {
  const { doc } = held;
  const before = versionOf(doc);
  doc.detach();
  const taken = take(doc, updates);
  const { spans } = taken;
  const check: UpdateCheck = { held, limits, containers: new Set(), nodes: new Set(), made: new Map(), written: 0 };
  const runs = [...spans].map(([peer, { start, end }]) => {
    const changes = readOperations(doc, peer, start, end);
    for (const change of changes) {
      for (const op of change.ops) {
        checkChain(check, op.container);
        checkNesting(check, change.peer, op);
        checkValues(check, op);
      }
    }
    return { peer, start, end, changes };
  });
  const afterwards = runs.map(({ changes, start, end }) => checkStructure(doc, changes, start, end));
  const changes = runs.flatMap((run) => run.changes);
  afterwards.push(checkPositions(held, before, changes, spans));
  bringUp(doc, before, taken);
  for (const check of afterwards) check();
  for (const { peer, start, end, changes } of runs) {
    const ops = changes.flatMap((change) => change.ops);
    for (const op of ops) checkOperation(check, op);
    if (ops.some(({ content }) => content.type === unreadable)) checkWhole(check, peer, start, end);
  }
  return spans;
}

/** The name of a mergeable child grows with its depth: too long a one is refused before anything is looked up by it. */
function checkChain({ held, limits }: UpdateCheck, container: ContainerID): void {
  if (!isMergeable(container)) return;
  const parsed = parseMergeable(container);
  if (parsed && parsed.keys.length > limits.depth) {
    throw tooLarge("depth", limits.depth, parsed.keys.length, {
      table: held.schema.table,
      field: fieldOf(parsed.head),
    });
  }
}

/**
 * Containers inside each other, as far as the updates make them: told from the operations alone, since to work out the state of what is
 * nested a thousand deep takes Loro a second.
 */
function checkNesting(
  { held, limits, made }: UpdateCheck,
  peer: PeerID,
  { container, counter, content }: LoroOperation,
): void {
  const { type, key, value } = content;
  if (type !== "insert" && type !== "set") return;
  const values = key === undefined && Array.isArray(value) ? value : [value];
  for (const [index, item] of values.entries()) {
    if (typeof item !== "string" || !item.startsWith(containerPrefix)) continue;
    const outer = made.get(container);
    const depth = (outer?.depth ?? 0) + 1;
    const field = outer?.field ?? fieldOf(container);
    if (depth > limits.depth) throw tooLarge("depth", limits.depth, depth, { table: held.schema.table, field });
    made.set(`cid:${counter + index}@${peer}:${typeOf(item as ContainerID)}`, { depth, field });
  }
}

/**
 * What an operation writes: every node of a value costs, be the value one operation. And the key `__proto__`, in a value or of a map, is what
 * a client's binding takes for the prototype of an object: what is under it would escape every other check, and reach the client.
 */
function checkValues(check: UpdateCheck, { container, content }: LoroOperation): void {
  const { held, limits } = check;
  const { type, key, value, text } = content;
  if (type === "delete" || type === unreadable) return;
  const field = container === scalarRootId ? (key ?? scalarRoot) : fieldOf(container);
  if (key === "__proto__") throw protoKey(held.schema, field);
  if (text !== undefined) held.added += weigh(text).bytes;
  if (value === undefined) return;
  const items = type === "insert" && key === undefined && Array.isArray(value) ? value : [value];
  for (const item of items) {
    const { nodes, bytes, depth, isPlain } = weigh(item, limits.valueNodes, limits.depth + 2);
    const where = { table: held.schema.table, field };
    if (depth > limits.depth + 1) throw tooLarge("depth", limits.depth, depth, where);
    if (nodes > limits.valueNodes) throw tooLarge("value_nodes", limits.valueNodes, nodes, where);
    if (!isPlain) throw protoKey(held.schema, field);
    check.written += nodes;
    held.added += bytes;
  }
  if (check.written > limits.updateOps) throw tooLarge("update_ops", limits.updateOps, check.written);
}

export function protoKey(schema: DocumentSchema, field: string): PerchError {
  return mismatch(schema, field, "keys other than __proto__", "the key __proto__");
}

/** Where operations cannot be read: the containers they touched, and the whole of what the document has become. Rare. */
function checkWhole(check: UpdateCheck, peer: PeerID, start: number, end: number): void {
  const { held, limits } = check;
  for (const container of held.doc.getChangedContainersIn({ peer, counter: start }, end - start))
    checkContainer(check, container);
  const scalars = held.doc.getMap(scalarRoot);
  // Numbers as they are: one beyond 2^53 is text in JSON, and fits a number no more.
  for (const [key, value] of scalars.entries())
    checkScalar(held.schema, key, typeof value === "number" ? value : toJson(value));
  scalars.free();
  for (const [field, value] of Object.entries(project(held.doc, held.schema.fields))) {
    const { depth } = weigh(value, undefined, limits.depth + 2);
    if (depth > limits.depth + 1) throw tooLarge("depth", limits.depth, depth, { table: held.schema.table, field });
  }
  if (!weigh(held.doc.toJSON()).isPlain) throw protoKey(held.schema, scalarRoot);
  // How much of it is new, nobody knows.
  held.added = Number.POSITIVE_INFINITY;
}

function checkOperation(check: UpdateCheck, { container, content }: LoroOperation): void {
  const { held } = check;
  const { type, key, value } = content;
  if (type === unreadable) return;
  if (type === "unknown") throw mismatch(held.schema, container, "a known operation", "one of a newer Loro");
  if (container === scalarRootId && key !== undefined) {
    // Taking away what an earlier declaration allowed does no harm.
    if (type !== "delete") checkScalar(held.schema, key, value);
    return;
  }
  if (type === "counter" && !isDelta(value)) {
    throw mismatch(held.schema, fieldOf(container), expectedDelta, String(value));
  }
  if (!check.containers.has(container)) checkContainer(check, container);
  if (content.target !== undefined && type !== "delete") checkNode(check, container, content.target);
}

function checkScalar(schema: DocumentSchema, key: string, value: unknown): void {
  const kind = Object.hasOwn(schema.fields, key) ? schema.fields[key] : undefined;
  if (kind === undefined) throw mismatch(schema, key, "a declared field", `an undeclared one in the map ${scalarRoot}`);
  if (value === null || value === undefined) return;
  if (!isScalar(kind)) {
    // How perch itself marks a field that is set but empty.
    if (value === true) return;
    throw mismatch(schema, key, `the ${kind} container of that name`, `a value in the map ${scalarRoot}`);
  }
  const { expected, fits } = scalarKinds[kind];
  if (typeof value === "string" && value.startsWith(containerPrefix)) {
    const type = value.slice(value.lastIndexOf(":") + 1);
    throw mismatch(schema, key, expected, `a ${kindOfType(type)} container`);
  }
  if (!fits(value)) throw mismatch(schema, key, expected, describeValue(value));
}

/** That a container is a declared one or lies in one, and not too deep. */
function checkContainer(check: UpdateCheck, container: ContainerID): void {
  check.containers.add(container);
  const { doc, schema, roots } = check.held;
  const root = parseRootId(container);
  if (root && roots.has(container)) return;
  if (root && !isMergeable(container)) throw undeclared(schema, root.name, root.type);
  // Undefined when the item it lay in was deleted meanwhile: then nobody sees what happens in it.
  const path = doc.getPathToContainer(container);
  const head = parseMergeable(container)?.head;
  const field = path?.[0] ?? (head && parseRootId(head)?.name);
  if (field === undefined) return;
  const kind = Object.hasOwn(schema.fields, field) ? schema.fields[String(field)] : undefined;
  if (kind === undefined || isScalar(kind)) {
    throw mismatch(
      schema,
      String(field),
      "a declared container field",
      `a ${kindOfType(typeOf(container))} container inside it`,
    );
  }
  const depth = (path?.length ?? 1) - 1;
  if (depth > check.limits.depth)
    throw tooLarge("depth", check.limits.depth, depth, { table: schema.table, field: String(field) });
}

function undeclared(schema: DocumentSchema, name: string, type: string): PerchError {
  const kind = Object.hasOwn(schema.fields, name) ? schema.fields[name] : undefined;
  const got = `a ${kindOfType(type)} container`;
  if (kind === undefined) return mismatch(schema, name, "a declared field", got);
  return mismatch(schema, name, isScalar(kind) ? `a ${kind} in the map ${scalarRoot}` : `a ${kind} container`, got);
}

/** Depth of a node that was created or moved, and of all that came along with it. */
function checkNode(check: UpdateCheck, container: ContainerID, target: TreeID): void {
  const { held, limits } = check;
  const tree = held.doc.getContainerById(container) as LoroTree | undefined;
  const top = tree?.has(target) && !tree.isNodeDeleted(target) ? tree.getNodeByID(target) : undefined;
  if (!top) return;
  const refuse = (depth: number) =>
    tooLarge("depth", limits.depth, depth, { table: held.schema.table, field: fieldOf(container) });
  let depth = 1;
  for (let node = top.parent(); node; node = node.parent()) {
    if (++depth > limits.depth) throw refuse(depth);
  }
  // Below nodes that this check has seen nothing can be deeper than it found then: it looks at the state after all operations.
  let level: LoroTreeNode[] = [top];
  for (; level.length > 0; depth++) {
    if (depth > limits.depth) throw refuse(depth);
    const fresh = level.filter(({ id }) => !check.nodes.has(id));
    for (const { id } of fresh) check.nodes.add(id);
    level = fresh.flatMap((node) => node.children() ?? []);
  }
}

/** The field, for messages, that a container belongs to; of a nested container its id. */
function fieldOf(container: ContainerID): string {
  return parseRootId(container)?.name ?? container;
}

function typeOf(container: ContainerID): string {
  return container.slice(container.lastIndexOf(":") + 1);
}
