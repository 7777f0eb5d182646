import { isUndoneForAnother } from "../database/errors.js";
import { textLiteral, textsLiteral } from "../database/literal.js";
import type { Database, Transaction } from "../database/types.js";
import { PerchError } from "../errors.js";
import type { Identity } from "./identity.js";

/** On whose behalf a transaction runs: a user, a tenant (of checkpoints), or both. */
export type Context = (UserContext | TenantContext) & {
  /** How long each of its statements waits for a lock; then it fails with 55P03. As the login has it when not given. */
  readonly lockTimeoutMs?: number | undefined;
};

interface UserContext extends Identity {
  readonly tenantId?: string | undefined;
}

interface TenantContext {
  readonly userId?: undefined;
  readonly spaceIds?: undefined;
  readonly writableSpaceIds?: undefined;
  readonly tenantId: string;
}

// From version 16 on a membership says for itself whether it may be switched to; before, every membership may.
const takeRole = `
select set_config('role', 'perch_app', true)
 where pg_has_role('perch_app', case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end)`;

// What a transaction does not name must not be left over from the connection, whoever used it before.
const forget = (setting: string) => `set_config('${setting}', '', true)`;
const forgetUser = ["user_id", "user_space_ids", "user_writable_space_ids"].map((name) =>
  forget(`app.current_${name}`),
);
const forgetTenant = forget("app.current_tenant_id");

/**
 * One transaction on behalf of a user (or tenant): takes the role perch_app where the login may, so that row level security binds
 * also when the login is a superuser; names the user with `perch.set_context` and the tenant with `perch.set_tenant`, for this
 * transaction only; runs `work`; commits. When `work` throws, rolls back and throws on.
 *
 * Out: what `work` returned. Errors: those of `work`; PE401 when user and tenant are empty or missing, PE422 and PE413 for an unusable id.
 */
export async function withContext<T>(
  db: Database,
  context: Context,
  work: (tx: Transaction) => Promise<T>,
  options: WithContextOptions = {},
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await db.transaction(async (tx) => {
        const entering = enterContext(tx, context);
        if (!options.atOnce) await entering;
        // Where the context is refused so is all that was asked behind it, for this reason.
        const [entered, done] = await Promise.allSettled([entering, work(tx)]);
        if (entered.status === "rejected") throw entered.reason;
        if (done.status === "rejected") throw done.reason;
        return done.value;
      });
    } catch (error) {
      if (!options.retry || !isUndoneForAnother(error) || attempt === maxAttempts) throw error;
      await new Promise((done) => setTimeout(done, Math.random() * 10 * 2 ** attempt));
    }
  }
}

export interface WithContextOptions {
  /**
   * Runs all of it again, in a new transaction, when Postgres undid it for the sake of another one (a deadlock, a serialization
   * failure): up to five times, after a little while. So `work` must do nothing outside the transaction that may not be done twice.
   */
  readonly retry?: boolean;
  /**
   * `work` does nothing but ask the transaction: it may begin before the database has taken the context, and what it asks goes out with that, in one
   * round trip.
   */
  readonly atOnce?: boolean;
}

const maxAttempts = 5;

/**
 * What `withContext` does first, for a transaction that is open already. It lasts until the transaction ends. Throws, before it asks the
 * database, as the database would of what cannot be asked; otherwise what is asked behind it may be sent before it is answered.
 */
export function enterContext(tx: Transaction, context: Context): Promise<void> {
  const { userId, spaceIds, writableSpaceIds, tenantId } = context;
  if (userId === undefined && tenantId === undefined) throw new PerchError("PE401", "no user is named");
  const calls: string[] = [];
  if (userId === undefined) calls.push(...forgetUser);
  else {
    const lists = [listed("space_ids", spaceIds), listed("writable_space_ids", writableSpaceIds)];
    calls.push(`perch.set_context(${[named("user_id", userId), ...lists].join(", ")})`);
  }
  if (tenantId === undefined) calls.push(forgetTenant);
  else calls.push(`perch.set_tenant(${named("tenant_id", tenantId)})`);
  if (context.lockTimeoutMs !== undefined)
    calls.push(`set_config('lock_timeout', '${Number(context.lockTimeoutMs)}', true)`);
  // Two statements, since what the second calls may take the role that the first brings; one script, since every transaction begins so.
  return tx.script(`${takeRole};\nselect ${calls.join(", ")}`);
}

// Whoever writes JavaScript may pass null.
const named = (name: string, id: string | null) => `${name} => ${id === null ? "null" : textLiteral(id, name)}`;
const listed = (name: string, ids: readonly string[] | null | undefined) =>
  `${name} => ${ids == null ? "null" : textsLiteral(ids, name)}`;
