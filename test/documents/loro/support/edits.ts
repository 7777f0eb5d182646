import { LoroCounter, LoroDoc, LoroList, LoroMap, LoroMovableList, LoroText, LoroTree, UndoManager } from "loro-crdt";

/** A stream of numbers in [0, 1). */
export type Random = () => number;

const pick = <Item>(random: Random, items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
const below = (random: Random, limit: number) => Math.floor(random() * limit);
const words = ["a", "hello ", "é", "🎉", "\n", "two words ", "0123456789", "漢字"];

/** A client's document as rich-text editors set it up. */
export function newClient(): LoroDoc {
  const doc = new LoroDoc();
  doc.configTextStyle({ bold: { expand: "after" }, link: { expand: "none" } });
  return doc;
}

/** One random edit of a kind that a Loro client can make to a document with `everyKind` of fields; not committed. */
export function randomEdit(doc: LoroDoc, random: Random): void {
  const scalars = doc.getMap("fields");
  switch (below(random, 12)) {
    case 0:
      scalars.set("title", pick(random, words));
      break;
    case 1:
      scalars.set(
        ...(pick<[string, unknown]>(random, [
          ["score", random() * 1e6],
          ["count", below(random, 1e9)],
          ["done", random() < 0.5],
        ]) as [string, number]),
      );
      break;
    case 2:
      scalars.set(
        ...(pick<[string, unknown]>(random, [
          ["due", "2026-01-02T03:04:05Z"],
          ["extra", { a: [random()] }],
          ["title", null],
        ]) as [string, string]),
      );
      break;
    case 3:
      scalars.delete(pick(random, ["title", "score", "extra"]));
      break;
    case 4:
    case 5:
    case 6:
      editText(doc.getText("body"), random);
      break;
    case 7:
      editList(doc.getList("tags"), random, 0);
      break;
    case 8:
      editMovableList(doc.getMovableList("cards"), random, 0);
      break;
    case 9:
      editTree(doc.getTree("outline"), random, 0);
      break;
    case 10:
      doc.getCounter("likes").increment(below(random, 10) - 5);
      break;
    default:
      editMap(doc.getMap("settings"), random, 0);
  }
}

/** A commit of a few edits; sometimes undone again, or made by going back to an earlier state. */
export function randomCommit(doc: LoroDoc, random: Random): void {
  const undo = random() < 0.1 ? new UndoManager(doc, {}) : undefined;
  const before = doc.frontiers();
  for (let count = 1 + below(random, 4); count > 0; count--) randomEdit(doc, random);
  doc.commit();
  if (undo) {
    undo.undo();
    if (random() < 0.5) undo.redo();
    undo.free();
  } else if (random() < 0.03) {
    doc.revertTo(before);
  }
  doc.commit();
}

function editText(text: LoroText, random: Random): void {
  const characters = [...text.toString()];
  const place = (index: number) => characters.slice(0, index).join("").length;
  const start = below(random, characters.length + 1);
  const end = Math.min(characters.length, start + 1 + below(random, 6));
  const range = { start: place(start), end: place(end) };
  const choice = random();
  if (choice < 0.55 || range.start === range.end) text.insert(range.start, pick(random, words));
  else if (choice < 0.75) text.delete(range.start, range.end - range.start);
  else if (choice < 0.85) text.mark(range, "bold", true);
  else if (choice < 0.9) text.unmark(range, "bold");
  else if (choice < 0.95) text.mark(range, "link", { href: "x" });
  else
    for (let count = 0; count < 3 && text.length > 0; count++) text.update([...text.toString()].slice(0, -1).join(""));
}

function value(random: Random): string | number | boolean | null | { [key: string]: number[] } {
  return pick(random, ["text", 1, 2.5, -3, true, null, { a: [1, 2] }]);
}

function container(random: Random): LoroText {
  const make = pick<() => unknown>(random, [
    () => new LoroText(),
    () => new LoroList(),
    () => new LoroMap(),
    () => new LoroMovableList(),
    () => new LoroTree(),
    () => new LoroCounter(),
  ]);
  return make() as LoroText;
}

function editNested(inner: unknown, random: Random, depth: number): boolean {
  if (depth > 3) return false;
  if (inner instanceof LoroText) editText(inner, random);
  else if (inner instanceof LoroList) editList(inner, random, depth + 1);
  else if (inner instanceof LoroMap) editMap(inner, random, depth + 1);
  else if (inner instanceof LoroMovableList) editMovableList(inner, random, depth + 1);
  else if (inner instanceof LoroTree) editTree(inner, random, depth + 1);
  else if (inner instanceof LoroCounter) inner.increment(1);
  else return false;
  return true;
}

function editList(list: LoroList, random: Random, depth: number): void {
  const at = below(random, list.length + 1);
  const choice = random();
  if (choice < 0.3 && editNested(list.toArray()[at], random, depth)) return;
  if (choice < 0.5) list.insert(at, value(random));
  else if (choice < 0.7) editNested(list.insertContainer(at, container(random)), random, depth);
  else if (list.length > 0) list.delete(below(random, list.length), 1);
  else for (let count = 0; count < 3; count++) list.push(value(random));
}

function editMovableList(list: LoroMovableList, random: Random, depth: number): void {
  const at = below(random, list.length + 1);
  const choice = random();
  if (choice < 0.2 && editNested(list.toArray()[at], random, depth)) return;
  if (choice < 0.5 || list.length < 2) {
    if (random() < 0.7) list.insert(at, value(random));
    else editNested(list.insertContainer(at, container(random)), random, depth);
  } else if (choice < 0.75) list.move(below(random, list.length), below(random, list.length));
  else if (choice < 0.9) {
    if (random() < 0.7) list.set(below(random, list.length), value(random));
    else editNested(list.setContainer(below(random, list.length), container(random)), random, depth);
  } else list.delete(below(random, list.length), 1);
}

function editMap(map: LoroMap, random: Random, depth: number): void {
  const key = pick(random, ["a", "b", "c"]);
  const choice = random();
  if (choice < 0.3 && editNested(map.get(key), random, depth)) return;
  if (choice < 0.5) map.set(key, value(random));
  else if (choice < 0.65) editNested(map.setContainer(key, container(random)), random, depth);
  else if (choice < 0.85 && depth <= 2) {
    if (random() < 0.5) editText(map.ensureMergeableText(`${key} text`), random);
    else editMap(map.ensureMergeableMap(`${key} map`), random, depth + 1);
  } else map.delete(key);
}

function editTree(tree: LoroTree, random: Random, depth: number): void {
  const nodes = tree.getNodes({ withDeleted: false });
  const node = nodes.length > 0 ? pick(random, nodes) : undefined;
  const choice = random();
  if (!node || choice < 0.4) tree.createNode(random() < 0.5 ? node?.id : undefined);
  else if (choice < 0.6) {
    try {
      node.move(random() < 0.7 ? pick(random, nodes) : undefined);
    } catch {
      // Below itself: Loro refuses, and nothing was done.
    }
  } else if (choice < 0.7) tree.delete(node.id);
  else editMap(node.data, random, depth + 1);
}
