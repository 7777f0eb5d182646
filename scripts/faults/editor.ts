import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc, type PeerID, VersionVector } from "loro-crdt";
import { LoroWebsocketClient } from "loro-websocket";
import { counterOf, endOf } from "../demo/author.js";
import { userToken } from "../support/user-token.js";
import type { Random } from "./random.js";
import { watch } from "./wire.js";

/** One edit: what it leaves in the document, by which it is found again. */
export interface Edit {
  readonly kind: "word" | "entry" | "mark" | "vote" | "title";
  readonly name: string;
  /** The author's operation counter behind it. */
  readonly end: number;
  /** The counter behind the edit that took it away again. */
  erasedAt?: number;
}

/** One document on the screen of one client. */
export interface Sheet {
  readonly roomId: string;
  readonly doc: LoroDoc;
  readonly peer: PeerID;
  readonly edits: Edit[];
  /** So many operations of this peer the server has said it has stored. */
  acknowledged: number;
  refusals: number;
  /** What went over the wire last, for whoever has to find out what went wrong. */
  readonly trace: string[];
}

const traced = 40;

/** Somebody who edits several documents through one official client, until the tab is closed. */
export interface Editor {
  readonly user: string;
  readonly sheets: readonly Sheet[];
  /** Joins answered by a node that had not yet heard of all that another had acknowledged; it is told a moment later. */
  readonly staleJoins: number;
  /** Why the client gave up, where it did: it never should. */
  readonly gaveUp: readonly string[];
  /** How often its socket was closed, by code. */
  readonly closes: ReadonlyMap<number, number>;
  /** Resolves once every document was joined. */
  readonly ready: Promise<void>;
  /** Makes one edit, in one of the documents. */
  edit(): void;
  /** Closes the tab: what was not acknowledged is gone. */
  close(): void;
}

/** The published client, but for a rejection that it leaves unhandled when it is destroyed while it connects. */
class Client extends LoroWebsocketClient {
  override connect(options?: { resetBackoff?: boolean }): Promise<void> {
    const connected = super.connect(options);
    connected.catch(() => undefined);
    return connected;
  }
}

const joinsWithinMs = 10_000;

export interface EditorOptions {
  /** WebSocket address of the server without a query. */
  readonly url: string;
  /** No two editors of a process may be the same user. */
  readonly user: string;
  readonly roomIds: readonly string[];
  readonly random: Random;
}

export function openEditor({ url, user, roomIds, random }: EditorOptions): Editor {
  const sheets = roomIds.map((roomId): Sheet => {
    const doc = new LoroDoc();
    return { roomId, doc, peer: doc.peerIdStr, edits: [], acknowledged: 0, refusals: 0, trace: [] };
  });
  let staleJoins = 0;
  const gaveUp: string[] = [];
  const closes = new Map<number, number>();
  const unanswered = new Map<string, number>();
  let client: Client | undefined;
  let closed = false;
  let count = 0;

  const sheetOf = (roomId: string) => sheets.find((sheet) => sheet.roomId === roomId);

  const token = userToken(user);
  watch(token, {
    sent(roomId, batchId, updates) {
      const sheet = sheetOf(roomId);
      if (sheet !== undefined) unanswered.set(batchId, endOf(updates, sheet.peer));
    },
    answered(roomId, batchId, ok) {
      const sheet = sheetOf(roomId);
      const end = unanswered.get(batchId);
      unanswered.delete(batchId);
      if (sheet === undefined || end === undefined) return;
      if (ok) sheet.acknowledged = Math.max(sheet.acknowledged, end);
      else sheet.refusals += 1;
    },
    joined(roomId, version) {
      const sheet = sheetOf(roomId);
      if (sheet === undefined) return;
      const stored = counterIn(version, sheet.peer);
      if (stored < sheet.acknowledged) staleJoins += 1;
      sheet.acknowledged = Math.max(sheet.acknowledged, stored);
    },
    noted(roomId, what) {
      const trace = sheetOf(roomId)?.trace;
      trace?.push(`${Date.now()} ${what}`);
      if (trace !== undefined && trace.length > traced) trace.shift();
    },
    closed(code) {
      for (const { trace } of sheets) trace.push(`${Date.now()} closed with ${code}`);
      closes.set(code, (closes.get(code) ?? 0) + 1);
      // Answers come on the socket that asked, or never.
      unanswered.clear();
    },
  });

  /** A first join whose socket broke before the answer is never repeated by the client: it is up to the app to begin again. */
  async function enter(): Promise<void> {
    while (!closed) {
      const attempt = new Client({
        url: `${url}?token=${token}`,
        reconnect: { initialDelayMs: 50, maxDelayMs: 500 },
        onError: () => undefined,
      });
      client = attempt;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<false>((resolve) => {
        timer = setTimeout(() => resolve(false), joinsWithinMs);
      });
      const joined = Promise.all(sheets.map((sheet) => join(attempt, sheet))).then(() => true as const);
      joined.catch(() => undefined);
      const entered = await Promise.race([joined, late]);
      clearTimeout(timer);
      if (entered) return;
      attempt.destroy();
    }
  }

  function join(attempt: Client, sheet: Sheet): Promise<unknown> {
    return attempt.join({
      roomId: sheet.roomId,
      crdtAdaptor: new LoroAdaptor(sheet.doc),
      onStatusChange: (status) => {
        if (status === "error" && !closed && client === attempt) gaveUp.push(`${user} in ${sheet.roomId}`);
      },
    });
  }

  function edit(): void {
    const sheet = random.pick(sheets);
    const { doc, edits, peer } = sheet;
    const name = `${user}.${count++}`;
    const what = random.next();
    const own = edits.filter(({ kind, erasedAt }) => kind === "word" && erasedAt === undefined);
    if (what < 0.15 && own.length > 0) {
      const erased = random.pick(own);
      const body = doc.getText("body");
      body.delete(body.toString().indexOf(wordOf(erased.name)), wordOf(erased.name).length);
      doc.commit();
      erased.erasedAt = counterOf(doc, peer);
      return;
    }
    const kind = kindOf(what);
    if (kind === "word") insertWord(doc, wordOf(name), random);
    else if (kind === "entry") doc.getList("entries").insert(random.below(doc.getList("entries").length + 1), name);
    else if (kind === "mark") doc.getMap("marks").set(name, true);
    else if (kind === "vote") doc.getCounter("votes").increment(1);
    else doc.getMap("fields").set("title", name);
    doc.commit();
    edits.push({ kind, name, end: counterOf(doc, peer) });
  }

  return {
    user,
    sheets,
    get staleJoins() {
      return staleJoins;
    },
    gaveUp,
    closes,
    ready: enter(),
    edit,
    close() {
      closed = true;
      const socket = client?.socket as { terminate?(): void } | undefined;
      client?.destroy();
      socket?.terminate?.();
    },
  };
}

/** A word as it stands in the text: whole, since everybody inserts between words. */
export const wordOf = (name: string) => `<${name}>`;

function insertWord(doc: LoroDoc, word: string, random: Random): void {
  const body = doc.getText("body");
  const content = body.toString();
  const at = content.indexOf("<", random.below(content.length + 1));
  body.insert(at < 0 ? content.length : at, word);
}

function kindOf(what: number): Edit["kind"] {
  if (what < 0.7) return "word";
  if (what < 0.8) return "entry";
  if (what < 0.9) return "mark";
  return what < 0.97 ? "vote" : "title";
}

function counterIn(encoded: Uint8Array, peer: PeerID): number {
  const version = VersionVector.decode(encoded);
  try {
    return version.get(peer) ?? 0;
  } finally {
    version.free();
  }
}
