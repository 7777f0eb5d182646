/** Set up anew for each test file, which the modules that it shares with others are not. */
import { afterAll, afterEach, vi } from "vitest";
import "../../scripts/support/sockets.js";
import { cleanUp, cleanUpTest } from "./cleanup.js";
import { leftBehind, shared } from "./left-behind.js";

const found = shared();

afterEach(cleanUpTest);
afterAll(async () => {
  await cleanUp();
  vi.unstubAllGlobals();
  vi.unstubAllEnvs();
  const left = leftBehind(found, shared());
  if (left.length > 0)
    throw new Error(`set back when the file ends, for the files that its process runs next: ${left.join(", ")}`);
});
