// What an app's bundle gets by importing the faces of perch that run on devices, printed with the build. Packages that the app brings itself (peers) do
// not count. Fails where a face comes to need anything else.
import { gzipSync } from "node:zlib";
import { build } from "vite";

/** By face: what the app has anyway. */
const faces = { client: [], loro: [], tanstack: ["@tanstack/db", "@tanstack/offline-transactions"] };

for (const [face, peers] of Object.entries(faces)) {
  const built = await build({
    root: new URL("..", import.meta.url).pathname,
    configFile: false,
    logLevel: "warn",
    build: {
      write: false,
      lib: { entry: `dist/${face === "client" ? face : `client/${face}`}/index.js`, formats: ["es"] },
      minify: true,
      rollupOptions: { external: peers },
    },
  });
  const chunks = (Array.isArray(built) ? built : [built]).flatMap(({ output }) => output);
  const foreign = chunks
    .flatMap((chunk) => [...(chunk.imports ?? [])])
    .filter((name) => !peers.includes(name) && !chunks.some((each) => each.fileName === name));
  if (foreign.length > 0) throw new Error(`perch/${face} needs ${foreign.join(", ")} on the device`);
  const code = chunks.map((chunk) => chunk.code ?? "").join("");
  const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
  console.log(`perch/${face}: ${kilobytes(Buffer.byteLength(code))}, ${kilobytes(gzipSync(code).length)} compressed`);
}
