// The command line and the threads of the engine, each with all that it needs of perch in few files: to find, read and link hundreds of them takes a
// process longer than all else that it does before it serves. Of other packages zod comes with it, which is a hundred files; the rest is loaded from where
// it is installed, and replaced there.
import { fileURLToPath } from "node:url";
import { build } from "vite";

/** In: a folder of the build, and by the name of a program in it its source; what comes with it, and what does not though it is perch's. */
async function bundle(outDir, input, { emptyOutDir, inline = [], external = [] }) {
  await build({
    root: fileURLToPath(new URL("..", import.meta.url)),
    configFile: false,
    logLevel: "warn",
    ssr: { noExternal: inline },
    build: {
      ssr: true,
      outDir,
      emptyOutDir,
      target: "node20",
      license: inline.length > 0 && { fileName: "licenses.md" },
      rolldownOptions: {
        input,
        external,
        output: { entryFileNames: "[name].js", chunkFileNames: "[name].js" },
      },
    },
  });
}

await bundle("dist/bin", { perch: "src/cli/main.ts" }, { emptyOutDir: true, inline: ["zod"] });
// What bounds Loro's memory has to run before Loro does, and so is imported before it.
const thread = { thread: "src/documents/loro/thread.ts" };
await bundle("dist/documents/loro", thread, { emptyOutDir: false, external: [/bound-memory/] });
