/** Set up anew for each test file, which the modules that it shares with others are not. */
import { afterAll, afterEach } from "vitest";
import { cleanUp, cleanUpTest } from "./cleanup.js";

afterEach(cleanUpTest);
afterAll(cleanUp);
