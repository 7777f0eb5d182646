import { deflateRawSync, inflateRawSync } from "node:zlib";

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

/** Longer keys are packed: an index holds a key of some 2,700 bytes as Postgres packs it, and a header of HTTP has room for 16 kB. */
const plainBytes = 1_000;
/** As they are unpacked. */
const maxKeyBytes = 1_000_000;

/**
 * Two numbers, as all the protocol's clients take it: of a row it is 0 and the bytes of its key as one number, with a one before them, or a two where they
 * are packed.
 */
export function offsetOf(position: Position): string {
  if (position.in === "now") return "now";
  if (position.in === "log") return `${position.lsn}_${position.op}`;
  if (position.key === null) return "-1";
  const key = Buffer.from(JSON.stringify(position.key));
  const [first, bytes] = key.length <= plainBytes ? ["01", key] : ["02", deflateRawSync(key)];
  return `0_${BigInt(`0x${first}${bytes.toString("hex")}`)}`;
}

/** Two digits and a half are one byte. */
const maxDigits = 20_000;

/** Out: undefined when it is no offset. */
export function positionOf(offset: string): Position | undefined {
  if (offset === "-1") return { in: "rows", key: null };
  if (offset === "now") return { in: "now" };
  const [, lsn = "", op = ""] = /^(\d{1,18})_(\d+)$/.exec(offset) ?? [];
  if (lsn === "" || op.length > maxDigits) return undefined;
  if (lsn !== "0" || op === "0") return op.length > 18 ? undefined : { in: "log", lsn: BigInt(lsn), op: BigInt(op) };
  const hex = BigInt(op).toString(16);
  // An odd number of digits without the leading zero of 01 or 02.
  if (hex.length % 2 === 0 || !/^[12]/.test(hex)) return undefined;
  try {
    const bytes = Buffer.from(hex.slice(1), "hex");
    const plain = hex.startsWith("1") ? bytes : inflateRawSync(bytes, { maxOutputLength: maxKeyBytes });
    const key: unknown = JSON.parse(utf8.decode(plain));
    return isKey(key) ? { in: "rows", key } : undefined;
  } catch {
    return undefined;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function isKey(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((part) => typeof part === "string");
}
