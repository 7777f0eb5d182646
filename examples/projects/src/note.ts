import { IndexedDBAdapter } from "@tanstack/offline-transactions";
import { EditorView, minimalSetup } from "codemirror";
import { LoroAdaptor, LoroEphemeralAdaptor } from "loro-adaptors/loro";
import { EphemeralStore, LoroDoc } from "loro-crdt";
import { LoroWebsocketClient } from "loro-websocket";
import { keepDocument } from "perch/loro";
import { type Carets, carets } from "./carets.js";
import { writtenTogether } from "./editor.js";
import type { Session } from "./session.js";

/** The notes of a user: kept on this device, and joined where there is a network. */
export function openNotes({ user, token }: Session) {
  const storage = new IndexedDBAdapter(`notes/${user}`);
  const socket = new LoroWebsocketClient({
    url: `${location.origin.replace("http", "ws")}/sync`,
    reconnect: { maxDelayMs: 5_000 },
    onError: () => undefined, // It connects again; the state of the outbox shows that there is no network.
  });
  const auth = new TextEncoder().encode(token);

  return {
    /** Shows the note of a project. Out: lets go of it. */
    async show(projectId: string, parent: HTMLElement): Promise<() => Promise<void>> {
      const doc = new LoroDoc();
      const presence = new EphemeralStore<Carets>();
      const roomId = `${projectId}/projects/notes/main`;
      const kept = await keepDocument(doc, {
        key: roomId,
        storage,
        join: () => socket.join({ roomId, crdtAdaptor: new LoroAdaptor(doc), auth }),
      });
      void kept.joined
        .then(() => socket.join({ roomId, crdtAdaptor: new LoroEphemeralAdaptor(presence), auth }))
        .catch(() => undefined); // Without it people write together all the same.
      const body = doc.getText("body");
      const view = new EditorView({
        doc: body.toString(),
        parent,
        extensions: [
          minimalSetup,
          EditorView.lineWrapping,
          writtenTogether(doc, body),
          carets(doc, body, presence, user),
        ],
      });
      return async () => {
        view.destroy();
        presence.destroy();
        await kept.close();
        void kept.joined.then(() => {
          socket.cleanupRoom(roomId, "%LOR");
          socket.cleanupRoom(roomId, "%EPH");
        });
      };
    },
    close: () => socket.destroy(),
    forget: () => storage.clear(),
  };
}
