/** A rival as a process of its own: `node server.js KIND PORT [DATABASE_URL]`. */
import { SimpleServer } from "loro-websocket/server";
import { startBroadcast, startBytes } from "./bare.js";
import { startHocuspocus } from "./hocuspocus.js";
import { startRelay } from "./relay.js";

export const kinds = {
  /** The reference server of the Loro protocol, in memory. */
  reference: (port: number) => new SimpleServer({ host: "127.0.0.1", port }).start(),
  hocuspocus: startHocuspocus,
  relay: startRelay,
  broadcast: startBroadcast,
  bytes: startBytes,
} satisfies Record<string, (port: number, databaseUrl: string) => Promise<unknown>>;

const [kind = "", port, databaseUrl = ""] = process.argv.slice(2);
await kinds[kind as keyof typeof kinds](Number(port), databaseUrl);
process.send?.("listening");
// Without the one that started it there is nobody to serve.
process.once("disconnect", () => process.exit());
