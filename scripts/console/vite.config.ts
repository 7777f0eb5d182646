import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// Whoever builds it, in tests too, gets what is published.
process.env.NODE_ENV = "production";

/** The console: files that need nothing but each other and perch's own API, and that a policy without inline scripts and styles lets run. */
export default defineConfig({
  root: fileURLToPath(new URL("../../src/client/console", import.meta.url)),
  // Relative, so that it holds behind a proxy that puts something in front.
  base: "./",
  publicDir: false,
  logLevel: "warn",
  build: {
    outDir: fileURLToPath(new URL("../../dist/console", import.meta.url)),
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
});
