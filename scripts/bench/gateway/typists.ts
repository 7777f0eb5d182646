import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { LoroWebsocketClient } from "loro-websocket";
import "../../support/sockets.js";

/** A document with a writer and a reader, each an unmodified client on a socket of its own. */
export interface Pair {
  /** Types until `deadline` (of performance.now), each letter when the reader has the one before. Out: the waiting times in ms. */
  type(deadline: number): Promise<number[]>;
  leave(): void;
}

/** How a pair of some kind of client types and reads. */
export interface PairClients {
  readonly room: string;
  type(letter: string): void;
  /** `arrived` is to be called whenever the reader has been given something. */
  onArrival(arrived: () => void): void;
  leave(): void;
}

const letters = "etaoinshrdlu ";

export function pairOf({ room, type, onArrival, leave }: PairClients): Pair {
  let arrived: () => void = () => undefined;
  let count = 0;
  onArrival(() => arrived());
  const stroke = () =>
    new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`a letter in ${room} did not arrive within 30 s`)), 30_000);
      arrived = () => {
        clearTimeout(timer);
        resolve();
      };
      type(letters[count++ % letters.length] ?? " ");
    });
  return {
    async type(deadline) {
      const waits: number[] = [];
      for (let now = performance.now(); now < deadline; ) {
        await stroke();
        const then = performance.now();
        waits.push(then - now);
        now = then;
      }
      return waits;
    },
    leave,
  };
}

/** Opens a document for a writer and a reader, with the official clients. In: the server's address with its query, and the room. */
export async function openPair(url: string, roomId: string): Promise<Pair> {
  const open = async () => {
    const client = new LoroWebsocketClient({ url, disablePing: true });
    await client.waitConnected();
    const doc = new LoroDoc();
    await client.join({ roomId, crdtAdaptor: new LoroAdaptor(doc) });
    return { client, doc };
  };
  const [writer, reader] = [await open(), await open()];
  const text = writer.doc.getText("body");
  return pairOf({
    room: roomId,
    type(letter) {
      text.insert(text.length, letter);
      writer.doc.commit();
    },
    onArrival(arrived) {
      reader.doc.subscribe((event) => {
        if (event.by === "import") arrived();
      });
    },
    leave() {
      writer.client.destroy();
      reader.client.destroy();
    },
  });
}
