import { createHash } from "node:crypto";

/**
 * What a reader of a shape brings along, so that a server need keep nothing: what the shape is, and the moment that its first snapshot
 * shows. It is not signed. The definition is compared with that of the token's rights, each time; a moment that somebody makes up
 * takes changes away from whoever made it up, or shows rows that the token may see anyway.
 */
export interface Handle {
  /** What the shape is: table, filter, columns and so on, and whose rows they are. */
  readonly definition: string;
  /** A position that the log had reached before the snapshot. */
  readonly since: bigint;
  /** The transactions that the snapshot shows; undefined: the shape began without one. */
  readonly snapshot: Snapshot | undefined;
  /** When it was made, by the clock of whoever made it: no two are the same. */
  readonly made: number;
}

/** A snapshot of Postgres: it shows all transactions before xmax but those from xmin on that were open. */
export interface Snapshot {
  readonly xmin: bigint;
  readonly xmax: bigint;
  readonly open: readonly bigint[];
}

/** An open transaction is a few characters; so many are more than a server has connections. */
const maxOpen = 2_000;

/** The greatest bigint of Postgres. */
const maxInt = (1n << 63n) - 1n;

const text = (number: bigint | number) => number.toString(36);
const number = (digits: string) =>
  [...digits].reduce((sum, digit) => sum * 36n + BigInt(Number.parseInt(digit, 36)), 0n);

/** A digest of whatever says what a shape is. */
export function definitionOf(...parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url").replaceAll("-", "_").slice(0, 22);
}

/** Definition, position, time, and of the snapshot xmin and the others as what they are more than it. */
export function handleText({ definition, since, snapshot, made }: Handle): string {
  const shown =
    snapshot === undefined
      ? []
      : [
          text(snapshot.xmin),
          text(snapshot.xmax - snapshot.xmin),
          ...snapshot.open.map((x) => text(x - snapshot.xmin)),
        ];
  return [definition, text(since), text(made), shown.join(".")].join("-");
}

/** Out: undefined when it is none that was made here. */
export function readHandle(handle: string): Handle | undefined {
  const [, definition = "", since = "", made = "", shown = ""] =
    /^([\w]{22})-([0-9a-z]{1,13})-([0-9a-z]{1,10})-([0-9a-z.]*)$/.exec(handle) ?? [];
  if (definition === "") return undefined;
  const numbers = shown === "" ? [] : shown.split(".");
  if (numbers.length === 1 || numbers.length > maxOpen + 2) return undefined;
  if (numbers.some((digits) => digits === "" || digits.length > 13)) return undefined;
  const [xmin = 0n, length = 0n, ...open] = numbers.map(number);
  const snapshot =
    numbers.length === 0 ? undefined : { xmin, xmax: xmin + length, open: open.map((behind) => xmin + behind) };
  if (number(since) > maxInt || (snapshot !== undefined && !isOfPostgres(snapshot))) return undefined;
  return { definition, since: number(since), snapshot, made: Number(number(made)) };
}

/** Whether Postgres would take it for one: anybody may write a handle, and what is in it is given to Postgres. */
function isOfPostgres({ xmin, xmax, open }: Snapshot): boolean {
  const isAscending = open.every((txid, nth) => txid < xmax && (nth === 0 || (open[nth - 1] as bigint) < txid));
  return xmin > 0n && xmax <= maxInt && isAscending;
}

/** As Postgres writes it: xmin:xmax:open,… Out: undefined with more open transactions than a handle holds. */
export function readSnapshot(written: string): Snapshot | undefined {
  const [xmin = "0", xmax = "0", open = ""] = written.split(":");
  const list = open === "" ? [] : open.split(",").map(BigInt);
  return list.length > maxOpen ? undefined : { xmin: BigInt(xmin), xmax: BigInt(xmax), open: list };
}

export function snapshotText({ xmin, xmax, open }: Snapshot): string {
  return `${xmin}:${xmax}:${open.join(",")}`;
}

/** Whether a snapshot shows what a transaction did. */
export function showing({ xmin, xmax, open }: Snapshot): (txid: bigint) => boolean {
  // A reader may name as many as a handle holds, and is asked about every change of a page.
  const running = new Set(open);
  return (txid) => txid < xmin || (txid < xmax && !running.has(txid));
}

/** The message that all of a first snapshot has been told. */
export function snapshotEnd({ xmin, xmax, open }: Snapshot): string {
  const headers = { control: "snapshot-end", xmin: `${xmin}`, xmax: `${xmax}`, xip_list: open.map(String) };
  return JSON.stringify({ headers });
}
