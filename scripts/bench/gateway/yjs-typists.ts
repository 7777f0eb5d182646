import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import { WebSocket } from "ws";
import * as Y from "yjs";
import { type Pair, pairOf } from "./typists.js";

/** Opens a document for a writer and a reader, with the clients of hocuspocus. */
export async function openYjsPair(url: string, name: string): Promise<Pair> {
  const open = async () => {
    const document = new Y.Doc();
    const websocketProvider = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: WebSocket });
    const provider = new HocuspocusProvider({ websocketProvider, name, document });
    const synced = new Promise((resolve) => provider.on("synced", resolve));
    provider.attach();
    await synced;
    const leave = () => {
      provider.destroy();
      websocketProvider.destroy();
    };
    return { document, leave };
  };
  const [writer, reader] = [await open(), await open()];
  const text = writer.document.getText("body");
  return pairOf({
    room: name,
    type: (letter) => text.insert(text.length, letter),
    onArrival: (arrived) => reader.document.on("update", arrived),
    leave() {
      writer.leave();
      reader.leave();
    },
  });
}
