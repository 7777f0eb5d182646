import { IndexedDBAdapter } from "@tanstack/offline-transactions";
import { LoroAdaptor } from "loro-adaptors/loro";
import { type Cursor, LoroDoc } from "loro-crdt";
import { LoroWebsocketClient } from "loro-websocket";
import { keepDocument } from "perch/loro";
import type { Session } from "./session.js";

/** The notes of a user: kept on this device, and joined where there is a network. */
export function openNotes({ user, token }: Session) {
  const storage = new IndexedDBAdapter(`notes/${user}`);
  const socket = new LoroWebsocketClient({
    url: `${location.origin.replace("http", "ws")}/sync`,
    reconnect: { maxDelayMs: 5_000 },
    onError: () => undefined, // It connects again; the state of the outbox shows that there is no network.
  });

  return {
    /** Shows the note of a project in a text field. Out: lets go of it. */
    async show(projectId: string, field: HTMLTextAreaElement): Promise<() => Promise<void>> {
      const doc = new LoroDoc();
      const body = doc.getText("body");
      const roomId = `${projectId}/projects/notes/main`;
      const join = () =>
        socket.join({ roomId, crdtAdaptor: new LoroAdaptor(doc), auth: new TextEncoder().encode(token) });
      const kept = await keepDocument(doc, { key: roomId, storage, join });
      const leave = bind(field, doc, body);
      return async () => {
        leave();
        await kept.close();
        void kept.joined.then(() => socket.cleanupRoom(roomId, "%LOR"));
      };
    },
    close: () => socket.destroy(),
    forget: () => storage.clear(),
  };
}

/** Writes what is typed into the text, and shows what others write, with the selection where it was in the words. */
function bind(field: HTMLTextAreaElement, doc: LoroDoc, body: ReturnType<LoroDoc["getText"]>): () => void {
  let selection: (Cursor | undefined)[] = [];
  const remember = () => {
    selection = [field.selectionStart, field.selectionEnd].map((at) => body.getCursor(at));
  };
  const typed = () => {
    body.update(field.value);
    doc.commit();
    remember();
  };
  const unsubscribe = doc.subscribe(({ by }) => {
    if (by === "local") return;
    field.value = body.toString();
    const [start, end] = selection.map((cursor) => cursor && doc.getCursorPos(cursor)?.offset);
    if (start !== undefined && end !== undefined) field.setSelectionRange(start, end);
  });
  field.value = body.toString();
  field.addEventListener("input", typed);
  document.addEventListener("selectionchange", remember);
  return () => {
    unsubscribe();
    field.removeEventListener("input", typed);
    document.removeEventListener("selectionchange", remember);
  };
}
