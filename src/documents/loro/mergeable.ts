import { type ContainerID, type ContainerType, LoroDoc, LoroMap, type PeerID } from "loro-crdt";
import { readOperations } from "./checks/oplog.js";
import { withHandle } from "./handles.js";
import { parseRootId } from "./layout.js";

/*
 * A "mergeable" child is a container that two peers may create under one key of a map and then share. It is a root container with
 * a made-up name: `🤝:`, the map it hangs on (`$name` of a root map, or `@peer:counter` in base 36), and a `>key` for each step. The map
 * holds a mark of eight bytes under the key while the child is there.
 */
const prefix = "🤝:";

const types: ReadonlySet<string> = new Set(["Text", "Map", "List", "MovableList", "Tree", "Counter"]);

export interface MergeableId {
  /** The map that holds the key. */
  parent: ContainerID;
  key: string;
  type: ContainerType;
  /** The map that the chain of keys begins at, and the keys. */
  head: ContainerID;
  keys: string[];
}

/** Whether a container's id is that of a mergeable child, well-formed or not. */
export function isMergeable(id: string): boolean {
  return id.startsWith(`cid:root-${prefix}`);
}

/** Out: undefined when the id is not well-formed. */
export function parseMergeable(id: ContainerID): MergeableId | undefined {
  const root = parseRootId(id);
  if (!root?.name.startsWith(prefix)) return undefined;
  const [head = "", ...escaped] = root.name.slice(prefix.length).split(/(?<!(?:^|[^\\])(?:\\\\)*\\)>/);
  const keys = escaped.map(unescapeKey);
  const key = keys.at(-1);
  const start = headId(head);
  if (key === undefined || start === undefined || !types.has(root.type)) return undefined;
  const parent =
    keys.length === 1 ? start : (`cid:root-${prefix}${[head, ...escaped.slice(0, -1)].join(">")}:Map` as ContainerID);
  return { parent, key, type: root.type as ContainerType, head: start, keys };
}

function headId(head: string): ContainerID | undefined {
  if (head.startsWith("$")) return `cid:root-${unescapeKey(head.slice(1))}:Map`;
  const [, peer, counter] = /^@([0-9a-z]{1,13}):([0-9a-z]{1,7})$/.exec(head) ?? [];
  if (peer === undefined || counter === undefined) return undefined;
  return `cid:${Number.parseInt(counter, 36)}@${fromBase36(peer)}:Map` as ContainerID;
}

function fromBase36(text: string): bigint {
  let value = 0n;
  for (const digit of text) value = value * 36n + BigInt(Number.parseInt(digit, 36));
  return value;
}

function unescapeKey(text: string): string {
  return text.replace(/\\(.)/g, (_, letter: string) => ({ s: "/", "0": "\0" })[letter] ?? letter);
}

/**
 * Whether a mergeable child was ever made. Quick for one that is there now. For one that is not (its key was deleted by somebody at the
 * same time, or it is forged) the whole history is searched for its mark.
 */
export function wasMade(doc: LoroDoc, id: ContainerID): boolean {
  const parsed = parseMergeable(id);
  if (!parsed) return false;
  if (doc.getPathToContainer(id) !== undefined) return true;
  const mark = JSON.stringify(markOf(parsed));
  for (const [peer, end] of withHandle(doc.oplogVersion(), (version) => version.toJSON())) {
    for (const { ops } of readOperations(doc, peer, 0, end)) {
      for (const { container, content } of ops) {
        if (content.key === parsed.key && container === parsed.parent && JSON.stringify(content.value) === mark)
          return true;
      }
    }
  }
  return false;
}

/** The bytes that mark the child in its map; made by making the like of it in a document of its own. */
function markOf({ head, keys, type }: MergeableId): unknown {
  return withHandle(new LoroDoc(), (doc) => {
    let map = mapLike(doc, head);
    for (const key of keys.slice(0, -1)) map = map.ensureMergeableMap(key);
    const key = keys.at(-1) ?? "";
    const makers = {
      Map: () => map.ensureMergeableMap(key),
      List: () => map.ensureMergeableList(key),
      Text: () => map.ensureMergeableText(key),
      Tree: () => map.ensureMergeableTree(key),
      MovableList: () => map.ensureMergeableMovableList(key),
      Counter: () => map.ensureMergeableCounter(key),
    } as const;
    makers[type]();
    doc.commit();
    const changes = doc.exportJsonInIdSpan({ peer: doc.peerIdStr, counter: 0, length: doc.opCount() });
    const content = changes.at(-1)?.ops.at(-1)?.content;
    return content && "value" in content ? content.value : undefined;
  });
}

/** A map of the given id in an empty document: a root map, or one made as operation number so and so of a peer. */
function mapLike(doc: LoroDoc, id: ContainerID): LoroMap {
  const root = parseRootId(id);
  if (root) return doc.getMap(root.name);
  const [counter = "0", peer = "0"] = id.slice("cid:".length, id.lastIndexOf(":")).split("@");
  doc.setPeerId(peer as PeerID);
  doc.getText("filler").insert(0, "-".repeat(Number(counter)));
  return doc.getMap("holder").setContainer("map", new LoroMap());
}
