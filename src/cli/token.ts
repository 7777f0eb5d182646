import { SignJWT } from "jose";
import { gatewaySettings } from "../gateway/settings.js";
import { type Command, parseCommandLine, UsageError } from "./command.js";

const help = `Usage: perch token --user USER [options]

Makes a token for a user, signed with PERCH_JWT_SECRET, and prints it: to try things, or for a script of yours. An
app makes tokens itself, where its users sign in: any library for JSON Web Tokens can.

Options:
  --user USER          who it speaks for (the claim sub)
  --minutes N          how long it is valid, up to 1440; default 60
  --read SPACE         a space the token lets its user read, and again for another; with neither of these two the
  --write SPACE        memberships are those in the database
  --console ROLE       admin or viewer: what the token is in the console (the claim perch_role); default: nothing

PERCH_JWT_ISSUER and PERCH_JWT_AUDIENCE are put into it where they are set. In development mode (perch start without
a key) there is nothing to sign: a token is just the user id.
`;

async function run(args: string[]): Promise<number> {
  const { values, positionals } = parseCommandLine(args, {
    user: { type: "string" },
    minutes: { type: "string" },
    read: { type: "string", multiple: true },
    write: { type: "string", multiple: true },
    console: { type: "string" },
  });
  if (positionals.length > 0) throw new UsageError(`unexpected argument "${positionals[0]}"`);
  const { user, read, write, console: role } = values;
  if (role !== undefined && role !== "admin" && role !== "viewer") throw new UsageError("--console is admin or viewer");
  if (!user) throw new UsageError("--user is missing: the id that the token is to speak for");
  const minutes = Number(values.minutes ?? 60);
  if (!(Number.isInteger(minutes) && minutes >= 1 && minutes <= 1_440)) {
    throw new UsageError("--minutes must be a whole number from 1 to 1440");
  }
  const { jwtSecret, jwtIssuer, jwtAudience, jwksUrl } = gatewaySettings(process.env, { development: true });
  if (jwtSecret === undefined) {
    throw new UsageError(
      jwksUrl === undefined
        ? `PERCH_JWT_SECRET is not set here; in development mode (perch start without a key) the token is the user id: ${user}`
        : "PERCH_JWT_SECRET is not set here: tokens are made by whoever has the private keys of PERCH_JWKS_URL",
    );
  }
  const claims = {
    ...(role ? { perch_role: role } : {}),
    ...(read ? { space_ids: read } : {}),
    ...(write ? { writable_space_ids: write } : {}),
  };
  const token = new SignJWT(claims)
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(user)
    .setIssuedAt()
    .setExpirationTime(`${minutes} minutes`);
  if (jwtIssuer !== undefined) token.setIssuer(jwtIssuer);
  if (jwtAudience !== undefined) token.setAudience(jwtAudience);
  process.stdout.write(`${await token.sign(new TextEncoder().encode(jwtSecret))}\n`);
  return 0;
}

export const command: Command = { help, run };
