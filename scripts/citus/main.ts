import { parseArgs } from "node:util";
import { runOnCitus } from "./run.js";

const help = `Usage: npm run test:citus -- --url URL [options]

perch beside Citus, on a real cluster: its schema on the coordinator alone, tables that Citus manages written through
every node, transactions over those and distributed tables, and two processes of perch that serve, while shards move.

  --url URL          the coordinator, as a superuser: a database with Citus 12 or later, with workers, which has no perch
                     yet and is dropped afterwards (docs/citus.md says how to make one)
  --restart COMMAND  a shell command that restarts a worker node; it is run while transactions are written
  --seconds N        for how long they are written; default 20

Exit code 1 when something was not as promised.
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      url: { type: "string" },
      restart: { type: "string" },
      seconds: { type: "string", default: "20" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  if (values.url === undefined) throw new Error("--url is missing: the coordinator of a Citus cluster; see --help");
  const seconds = Number(values.seconds);
  if (!Number.isSafeInteger(seconds) || seconds < 1) throw new Error("--seconds must be a whole number from 1");
  const { passed, failed } = await runOnCitus({
    url: values.url,
    restart: values.restart,
    seconds,
    report: (line) => process.stdout.write(`${line}\n`),
  });
  process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    process.exit(1);
  },
);
