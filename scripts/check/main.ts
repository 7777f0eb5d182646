import { packageRoot } from "../../src/database/package-root.js";
import { allowed } from "./allowed.js";
import { clientWall } from "./client.js";
import { uncommentedExports, uncommentedFunctions } from "./comments.js";
import { deadExports } from "./dead.js";
import { importCycles, upwardImports } from "./imports.js";
import { readSources } from "./sources.js";
import { sqlStates, statements } from "./statements.js";

/** Holds the tree to what docs/architecture.md says of it: part of `npm run check`. */
const [source, pages, tests, scripts, steps, sql] = await Promise.all([
  readSources(packageRoot, "src", ".ts"),
  readSources(packageRoot, "src", ".tsx"),
  readSources(packageRoot, "test", ".ts"),
  readSources(packageRoot, "scripts", ".ts"),
  readSources(packageRoot, "scripts", ".js"),
  readSources(packageRoot, "sql", ".sql"),
]);
const problems = [
  ...upwardImports(source),
  ...importCycles(source),
  ...clientWall(new Map([...source, ...pages])),
  ...statements(source, allowed),
  ...sqlStates(source),
  ...deadExports(source, new Map([...source, ...pages, ...tests, ...scripts, ...steps])),
  ...uncommentedExports(source),
  ...uncommentedFunctions(sql),
];
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
