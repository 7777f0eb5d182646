/** The reference server of the Loro protocol, in memory, as a process of its own: `node reference-server.js PORT`. */
import { SimpleServer } from "loro-websocket/server";

const server = new SimpleServer({ host: "127.0.0.1", port: Number(process.argv[2]) });
await server.start();
process.send?.("listening");
// Without the one that started it there is nobody to serve.
process.once("disconnect", () => process.exit());
