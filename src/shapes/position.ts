/**
 * Where a reader of a shape stands. `rows`: in its first snapshot, behind the row with this key (null: before all). `log`: in the log, behind
 * the operation `op` of the transaction that begins at `lsn`; with zeros, where the log goes on behind the first snapshot, which the handle says.
 */
export type Position =
  | { readonly in: "rows"; readonly key: readonly string[] | null }
  | { readonly in: "log"; readonly lsn: bigint; readonly op: bigint }
  | { readonly in: "now" };

/** Behind the first snapshot, and before anything of the log. */
export const logStart = { in: "log", lsn: 0n, op: 0n } as const;
export const isLogStart = (position: Position) => position.in === "log" && position.lsn === 0n && position.op === 0n;

/** Two numbers, as all the protocol's clients take it: of a row it is 0 and the bytes of its key as one number, with a one before them. */
export function offsetOf(position: Position): string {
  if (position.in === "now") return "now";
  if (position.in === "log") return `${position.lsn}_${position.op}`;
  if (position.key === null) return "-1";
  return `0_${BigInt(`0x01${Buffer.from(JSON.stringify(position.key)).toString("hex")}`)}`;
}

/** A key of an index has some 2,700 bytes at most; two digits and a half are one of them. */
const maxDigits = 20_000;

/** Out: undefined when it is no offset. */
export function positionOf(offset: string): Position | undefined {
  if (offset === "-1") return { in: "rows", key: null };
  if (offset === "now") return { in: "now" };
  const [, lsn = "", op = ""] = /^(\d{1,18})_(\d+)$/.exec(offset) ?? [];
  if (lsn === "" || op.length > maxDigits) return undefined;
  if (lsn !== "0" || op === "0") return op.length > 18 ? undefined : { in: "log", lsn: BigInt(lsn), op: BigInt(op) };
  const hex = BigInt(op).toString(16);
  // An even number of digits without the leading zero of 01.
  if (hex.length % 2 === 0 || !hex.startsWith("1")) return undefined;
  try {
    const key: unknown = JSON.parse(utf8.decode(Buffer.from(hex.slice(1), "hex")));
    return isKey(key) ? { in: "rows", key } : undefined;
  } catch {
    return undefined;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function isKey(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((part) => typeof part === "string");
}
