import { requiredText } from "../database/text.js";
import type { Queryable } from "../database/types.js";
import { PerchError } from "../errors.js";

/** Calls of perch's SQL functions on behalf of one tenant. */
export interface TenantCalls {
  readonly tenantId: string;
  /**
   * In: the name of a function in schema perch and its arguments by name, `thread_id` among them; undefined ones are left out.
   * Out: its rows. The row of a function that returns one value has it as `result`.
   */
  rows<Row>(name: string, args: Arguments): Promise<Row[]>;
  /** The same for a function that returns one value. */
  value<Value>(name: string, args: Arguments): Promise<Value>;
}

export type Arguments = { readonly thread_id: string | null } & Readonly<Record<string, unknown>>;

/** Each call is a transaction of its own, of one statement, that names the tenant first. */
export function tenantCalls(db: Queryable, tenantId: string): TenantCalls {
  requireTenant(tenantId);
  return calls(tenantId, (name, { thread_id, ...args }) => {
    const params: unknown[] = [tenantId, thread_id === null ? null : requiredText(thread_id, "thread_id")];
    // The call has an argument from the row that names the tenant, so it cannot be made before.
    const list = named(args, params, "thread_id => case when t.entered is not null then $2 end");
    const sql = `select result.* from (select perch.set_tenant(tenant_id => $1) as entered) t cross join lateral perch.${name}(${list}) result`;
    return db.query(sql, params);
  });
}

/**
 * Calls within a transaction that somebody else began and will end. One that names no tenant yet gets this one; PE403 for one
 * that names another: what comes after in it would run for the wrong tenant.
 */
export function tenantCallsIn(tx: Queryable, tenantId: string): TenantCalls {
  requireTenant(tenantId);
  let entered: Promise<void> | undefined;
  const enter = async () => {
    const [row] = await tx.query<{ current: string | null }>("select perch.current_tenant_id() as current");
    if (row?.current === tenantId) return;
    if (row?.current)
      throw new PerchError("PE403", "this transaction is that of another tenant", { tenant_id: tenantId });
    await tx.query("select perch.set_tenant(tenant_id => $1)", [tenantId]);
  };
  return calls(tenantId, async (name, args) => {
    if (args.thread_id !== null) requiredText(args.thread_id, "thread_id");
    entered ??= enter();
    await entered;
    const params: unknown[] = [];
    return tx.query(`select result.* from perch.${name}(${named(args, params)}) result`, params);
  });
}

function calls(tenantId: string, run: (name: string, args: Arguments) => Promise<unknown[]>): TenantCalls {
  return {
    tenantId,
    rows: <Row>(name: string, args: Arguments) => run(name, args) as Promise<Row[]>,
    async value<Value>(name: string, args: Arguments) {
      const [row] = (await run(name, args)) as { result: Value }[];
      return (row as { result: Value }).result;
    },
  };
}

function named(args: Readonly<Record<string, unknown>>, params: unknown[], first?: string): string {
  const list = first === undefined ? [] : [first];
  for (const [name, value] of Object.entries(args)) {
    if (value !== undefined) list.push(`${name} => $${params.push(argument(name, value))}`);
  }
  return list.join(", ");
}

/**
 * A text or a whole number to pass on: all that these functions take besides lists of texts. PE422 for anything else, which a driver
 * would write as some text: of an object that is "[object Object]", the same for everybody.
 */
export function argument<Value>(name: string, value: Value): Value {
  if (value === null || value === undefined || Number.isSafeInteger(value)) return value;
  if (Array.isArray(value)) for (const item of value) argument(name, item);
  else if (typeof value === "string") requiredText(value, name);
  else throw new PerchError("PE422", `${name} is neither a text nor a whole number`, { argument: name });
  return value;
}

function requireTenant(tenantId: string): void {
  if (!tenantId) throw new PerchError("PE401", "the tenant is empty");
  requiredText(tenantId, "tenant_id");
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether a text can be the id of a checkpoint. */
export const isCheckpointId = (id: unknown): id is string => typeof id === "string" && uuid.test(id);

/** An id to pass on, or nothing; PE422 for a text that can be none. */
export function checkpointId(id: string | null | undefined, argument: string): string | undefined {
  if (id === undefined || id === null) return undefined;
  if (!isCheckpointId(id)) throw new PerchError("PE422", `${argument} is not a UUID`, { argument });
  return id;
}

/** How long, as Postgres reads an interval. PE422 for what is no time. */
export function milliseconds(ms: number | undefined, argument: string): string | undefined {
  if (ms === undefined) return undefined;
  if (typeof ms === "number" && Math.abs(ms) <= Number.MAX_SAFE_INTEGER) return `${ms.toFixed(3)} milliseconds`;
  throw new PerchError("PE422", `${argument} is no number of milliseconds`, { argument, got: String(ms) });
}
