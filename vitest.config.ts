import { defineConfig } from "vitest/config";

export default defineConfig({
  // Each of TanStack's packages brings a copy of its core, and collections of one know nothing of transactions of another: an app has one, too.
  resolve: { dedupe: ["@tanstack/db"] },
  test: {
    server: { deps: { inline: [/@tanstack\//] } },
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/support/cleanup-hooks.ts"],
    globalSetup: ["test/support/global-setup.ts"],
    // Ten times what the longest takes on a quiet machine: how fast it is decides nothing.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 120_000 } },
    // Modules are loaded once a process, not once a file: that is a fifth of the time of the whole.
    isolate: false,
    // One more than the processors of a small machine: many tests wait.
    maxWorkers: 3,
  },
});
