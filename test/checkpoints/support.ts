import { randomUUID } from "node:crypto";
import type { Queryable, Transaction } from "../../src/database/types.js";
import type { TestDatabase } from "../support/databases.js";

/** A transaction with the rights of perch_app, on behalf of a tenant. */
export function asTenant<T>(t: TestDatabase, tenantId: string, work: (tx: Transaction) => Promise<T>): Promise<T> {
  return t.db.transaction(async (tx) => {
    await tx.query("set local role perch_app");
    await tx.query("select perch.set_tenant(tenant_id => $1)", [tenantId]);
    return work(tx);
  });
}

/** A tenant that no other test has. */
export const freshTenant = (): string => `tenant-${randomUUID()}`;

export interface StoredCheckpoint {
  id: string;
  parent_id: string | null;
  step: number;
  state: unknown;
  next_node: string | null;
  schema_version: number | null;
  metadata: Record<string, unknown>;
  created_at: Date;
  thread_id: string;
  tenant_id: string;
}

/** Calls a function of schema perch with named arguments. Out: its rows. */
export function call<Row>(tx: Queryable, name: string, args: Record<string, unknown>): Promise<Row[]> {
  const names = Object.keys(args).map((argument, nth) => `${argument} => $${nth + 1}`);
  return tx.query<Row>(`select r.* from perch.${name}(${names.join(", ")}) r`, Object.values(args));
}

/** The same for a function that returns one value. */
export async function value<Value>(tx: Queryable, name: string, args: Record<string, unknown>): Promise<Value> {
  const [row] = await call<{ r: Value }>(tx, name, args);
  return row?.r as Value;
}

/** Appends a checkpoint. Out: its id. */
export function put(
  tx: Queryable,
  threadId: string,
  state: unknown,
  args: Record<string, unknown> = {},
): Promise<string> {
  return value(tx, "put_checkpoint", { thread_id: threadId, state: JSON.stringify(state), step: 1, ...args });
}

export async function latest(tx: Queryable, threadId: string): Promise<StoredCheckpoint | undefined> {
  const [row] = await call<StoredCheckpoint>(tx, "latest_checkpoint", { thread_id: threadId });
  return row;
}

export const history = (
  tx: Queryable,
  threadId: string,
  args: Record<string, unknown> = {},
): Promise<StoredCheckpoint[]> => call(tx, "checkpoint_history", { thread_id: threadId, ...args });
