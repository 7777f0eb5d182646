import { LoroDoc, LoroList, type PeerID } from "loro-crdt";
import { corrupt, repairChecksum } from "../documents/loro/support/corrupt.js";
import { newClient, randomCommit } from "../documents/loro/support/edits.js";
import { seededRandom } from "../support/traces.js";

export interface BadUpdate {
  kind: string;
  bytes: Uint8Array;
  /** By chance a corruption can be another valid update; nothing else is ever taken. */
  mayBeValid?: true;
}

const madeBy = (edit: (doc: LoroDoc) => void, mode: "update" | "snapshot" = "update"): Uint8Array => {
  const doc = new LoroDoc();
  edit(doc);
  doc.commit();
  return doc.export({ mode });
};

function corruptions(count: number): BadUpdate[] {
  const random = seededRandom(4);
  const forger = newClient();
  for (let commits = 0; commits < 10; commits++) randomCommit(forger, random);
  const honest = [forger.export({ mode: "update" }), forger.export({ mode: "snapshot" })];
  return Array.from({ length: count }, (_, index) => {
    const base = honest[index % 5 === 0 ? 1 : 0] as Uint8Array;
    if (index % 4 === 1) {
      const length = 23 + Math.floor(random() * (base.length - 23));
      return { kind: "a truncation", bytes: repairChecksum(base.slice(0, length)), mayBeValid: true };
    }
    return { kind: "a corruption", bytes: corrupt(base, random), mayBeValid: true };
  });
}

function withByte(update: Uint8Array, at: number, byte: number): Uint8Array {
  const copy = new Uint8Array(update);
  copy[at] = byte;
  return repairChecksum(copy);
}

function secondOfTwo(): Uint8Array {
  const doc = new LoroDoc();
  doc.getText("body").insert(0, "first");
  doc.commit();
  const from = doc.oplogVersion();
  doc.getText("body").insert(0, "second ");
  doc.commit();
  return doc.export({ mode: "update", from });
}

function nestedLists(levels: number): Uint8Array {
  return madeBy((doc) => {
    let list = doc.getList("tags") as LoroList;
    for (let level = 0; level < levels; level++) list = list.insertContainer(0, new LoroList());
  });
}

/**
 * Updates that no document may take in. In: the peer id of an honest author whose document is attacked, and who has made more than
 * ten operations.
 */
export function badUpdates(honestPeer: PeerID): BadUpdate[] {
  const good = madeBy((doc) => doc.getText("body").insert(0, "hello"));
  const reused = madeBy((doc) => {
    doc.setPeerId(honestPeer);
    doc.getText("body").insert(0, "not what that author typed");
  });
  return [
    ...corruptions(120),
    { kind: "another version", bytes: withByte(good, 21, 1) },
    { kind: "a future version", bytes: withByte(good, 21, 9) },
    { kind: "another format", bytes: withByte(good, 0, 0x4c) },
    { kind: "nothing", bytes: new Uint8Array(0) },
    { kind: "another document's", bytes: madeBy((doc) => doc.getText("chapter").insert(0, "of a book")) },
    { kind: "another type", bytes: madeBy((doc) => doc.getList("body").push("text")) },
    { kind: "one without its base", bytes: secondOfTwo() },
    { kind: "a reused peer id", bytes: reused },
    {
      kind: "a bomb of letters",
      bytes: madeBy((doc) => doc.getText("body").insert(0, "a".repeat(3_000_000)), "snapshot"),
    },
    {
      kind: "a bomb of one value",
      bytes: madeBy((doc) => doc.getMap("fields").set("title", "b".repeat(20_000_000)), "snapshot"),
    },
    { kind: "lists nested 1,000 deep", bytes: nestedLists(1_000) },
    {
      kind: "values nested 1,000 deep",
      bytes: madeBy((doc) => doc.getList("tags").push(nestedValue(1_000) as string)),
    },
  ];
}

function nestedValue(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = { a: value };
  return value;
}
