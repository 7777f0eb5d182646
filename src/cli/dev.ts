import { type Command, databaseOptionHelp } from "./command.js";
import { runStart } from "./start.js";

const help = `Usage: perch dev [options]

As perch start, for whoever develops an app on it: the log is for people, and has a line for each request. It names
the console, where one sees what happens: spaces, records and documents, the log as it grows, what was set aside.

Options:
${databaseOptionHelp}
  --host ADDRESS       address to listen on; default: PERCH_HOST, else 127.0.0.1
  --port PORT          port to listen on; default: PERCH_PORT, else 4466

PERCH_LOG_LEVEL (default here: info) says how much is logged; the other settings are those of perch start --help.
Colours are for terminals only. Ctrl-C stops it.
`;

export const command: Command = { help, run: (args) => runStart(args, { forPeople: true }) };
