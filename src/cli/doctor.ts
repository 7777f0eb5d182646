import { lacksRight } from "../database/errors.js";
import { type Command, databaseOption, databaseOptionHelp, parseCommandLine, UsageError } from "./command.js";
import { connect, requireRoles } from "./connect.js";
import { examine } from "./doctor-checks.js";
import type { Finding } from "./finding.js";

const help = `Usage: perch doctor [options]

Looks at a database that perch uses and says what is wrong or worth knowing, and what to do about it. Changes nothing.
Exit code 1 when anything is wrong. The login needs the role perch_worker.

Options:
${databaseOptionHelp}
  --json               one JSON object a line: name, level (ok, warning, error), detail, remedy
`;

async function run(args: string[]): Promise<number> {
  const { values, positionals } = parseCommandLine(args, { ...databaseOption, json: { type: "boolean" } });
  if (positionals.length > 0) throw new UsageError(`unexpected argument "${positionals[0]}"`);
  const url = values["database-url"];
  const listenUrl = process.env.PERCH_LISTEN_URL;
  const { db } = await connect({
    ...(url === undefined ? {} : { url }),
    ...(listenUrl === undefined ? {} : { listenUrl }),
    poolSize: 3,
    existing: true,
    share: true,
  });
  try {
    const findings = await examine(db);
    process.stdout.write(findings.map(values.json ? (finding) => `${JSON.stringify(finding)}\n` : line).join(""));
    return findings.some(({ level }) => level === "error") ? 1 : 0;
  } catch (error) {
    // That is said better than Postgres says it.
    if (lacksRight(error)) await requireRoles(db, ["perch_worker"]);
    throw error;
  } finally {
    await db.close();
  }
}

function line({ name, level, detail, remedy }: Finding): string {
  return `${level.padEnd(8)} ${name}: ${detail}\n${remedy === null ? "" : `         → ${remedy}\n`}`;
}

export const command: Command = { help, run };
