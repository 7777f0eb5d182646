import { fileURLToPath } from "node:url";
import { SignJWT } from "jose";
import { defineConfig } from "vite";

/** Who may sign in, and by which words: an app of yours asks its own table. */
const passwords = { ada: "lovelace", bob: "marley" };
const secret = () => new TextEncoder().encode(process.env.PERCH_JWT_SECRET);
const perch = `http://127.0.0.1:${process.env.PERCH_PORT ?? 4466}`;
const dist = (path) => fileURLToPath(new URL(`../../dist/client/${path}index.js`, import.meta.url));

/** The app's own back end: all it does is to sign for who has said the right words. */
function answer(request, response, next) {
  if (request.url !== "/sign-in" || request.method !== "POST") return next();
  let body = "";
  request.on("data", (chunk) => {
    body += chunk;
  });
  request.on("end", async () => {
    const { user, password } = JSON.parse(body);
    if (!Object.hasOwn(passwords, user) || passwords[user] !== password) {
      response.writeHead(403).end("No such name, or another password.");
      return;
    }
    const token = new SignJWT().setProtectedHeader({ alg: "HS256" }).setSubject(user).setExpirationTime("12h");
    response.end(await token.sign(secret()));
  });
}

const back = {
  name: "back-end",
  configureServer: ({ middlewares }) => void middlewares.use(answer),
  configurePreviewServer: ({ middlewares }) => void middlewares.use(answer),
};
/** As a proxy before both would: the page and perch are one origin. */
const proxy = {
  "/v1": { target: perch, changeOrigin: true },
  "/sync": { target: perch, ws: true, changeOrigin: true },
};

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  plugins: [back],
  server: { proxy },
  preview: { proxy },
  resolve: {
    // One copy of TanStack's core for all of its packages.
    dedupe: ["@tanstack/db"],
    // An app that has perch among its dependencies needs none of these.
    alias: [
      { find: /^perch\/client$/, replacement: dist("") },
      { find: /^perch\/(tanstack|loro)$/, replacement: dist("$1/") },
    ],
  },
  // Loro is WebAssembly that its package loads itself, which dev servers must not bundle.
  optimizeDeps: { exclude: ["loro-crdt"] },
  build: { target: "es2022", emptyOutDir: true, chunkSizeWarningLimit: 10_000 },
});
