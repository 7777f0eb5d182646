import { type Change, PerchError, type PushResult } from "../index.js";

/** Where the rows of a collection are kept, and how a row says which record it is. */
export interface RowSpec<Row extends object = Record<string, unknown>> {
  appId: string;
  /** The name under which perch knows the table. */
  table: string;
  /** The columns of the primary key, in its order; `id` when not given. */
  key?: (keyof Row & string) | readonly (keyof Row & string)[] | undefined;
  /** The column that names the space, or what says it; the personal space when not given. */
  space?: (keyof Row & string) | ((row: Row) => string | null) | undefined;
  /** What is sent, where clients may not write all columns. The key and the column of the space are sent apart, always. */
  columns?: readonly (keyof Row & string)[] | undefined;
  /** What is never sent. */
  without?: readonly (keyof Row & string)[] | undefined;
}

/** What is read of a mutation of TanStack DB. */
export interface RowMutation {
  readonly type: string;
  readonly modified: object;
  readonly original: object;
  readonly changes: object;
}

/** A mutation as a change to push. In: its op_id, and when the user made it. */
export function changeOf<Row extends object>(
  spec: RowSpec<Row>,
  mutation: RowMutation,
  op_id: string,
  at: string,
): Change {
  const { type } = mutation;
  // An update or deletion is of the row that was there.
  const row = (type === "insert" ? mutation.modified : mutation.original) as Row;
  const { table } = spec;
  const change = { table, id: idOf(spec, row), space_id: spaceOf(spec, row), op_id, at };
  if (type === "delete") return { ...change, op: "delete" };
  const written = type === "insert" ? mutation.modified : mutation.changes;
  return { ...change, op: type === "insert" ? "insert" : "update", data: dataOf(spec, written) };
}

const keyOf = ({ key = "id" as never }: RowSpec<never>): readonly string[] => (typeof key === "string" ? [key] : key);

/** Of a key of several columns perch's ids are a JSON array of texts. */
function idOf<Row extends object>(spec: RowSpec<Row>, row: Row): string {
  const parts = keyOf(spec as never).map((name) => String((row as Record<string, unknown>)[name]));
  return parts.length === 1 ? (parts[0] ?? "") : JSON.stringify(parts);
}

function spaceOf<Row extends object>({ space }: RowSpec<Row>, row: Row): string | null {
  if (space === undefined) return null;
  return typeof space === "function" ? space(row) : String(row[space] ?? "");
}

function dataOf<Row extends object>(spec: RowSpec<Row>, written: object): Record<string, unknown> {
  const { space, without = [] } = spec;
  const apart = new Set<string>([...keyOf(spec as never), ...(typeof space === "string" ? [space] : []), ...without]);
  const isSent = (name: string) => !apart.has(name) && (spec.columns?.includes(name as never) ?? true);
  return Object.fromEntries(
    Object.entries(written)
      .filter(([name]) => isSent(name))
      .map(([name, value]) => [name, plain(value)]),
  );
}

/** JSON has no undefined and no bigint; a column's type makes a number of its digits again. */
const plain = (value: unknown) => (value === undefined ? null : typeof value === "bigint" ? String(value) : value);

/** Why a push in which all or none apply applied none; undefined when it did. */
export function rejectionOf(results: readonly PushResult[]): PerchError | undefined {
  const rejected = results.filter(({ status }) => status === "rejected");
  const isAtFault = ({ error }: PushResult) => (error?.detail as { reason?: unknown } | null)?.reason !== "aborted";
  const { error, op_id } = rejected.find(isAtFault) ?? rejected[0] ?? {};
  if (error === undefined) return undefined;
  const { code, message, detail, hint } = error;
  return new PerchError({ code, message, detail: { op_id, cause: detail }, hint });
}
