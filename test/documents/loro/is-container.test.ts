import * as loro from "loro-crdt";
import { expect, it } from "vitest";
import { isContainer } from "../../../src/documents/loro/is-container.js";

it("tells containers from values as Loro itself does", () => {
  const doc = new loro.LoroDoc();
  const map = doc.getMap("map");
  const nested = [
    map.setContainer("map", new loro.LoroMap()),
    map.setContainer("list", new loro.LoroList()),
    map.setContainer("movable list", new loro.LoroMovableList()),
    map.setContainer("text", new loro.LoroText()),
    map.setContainer("tree", new loro.LoroTree()),
    map.setContainer("counter", new loro.LoroCounter()),
  ];
  const tree = doc.getTree("tree");
  const values = [null, undefined, 1, "Map", true, [], {}, { kind: "Map" }, new Uint8Array(1), Object.create(null)];
  for (const [key, value] of values.entries()) map.set(String(key), value);
  const held = [...map.keys()].map((key) => map.get(key));
  const all = [map, tree, tree.createNode().data, ...nested, ...values, ...held];
  expect(all.filter(loro.isContainer).length).toBeGreaterThan(2 * nested.length);
  for (const each of all) expect(isContainer(each)).toBe(loro.isContainer(each as loro.Value));
});
