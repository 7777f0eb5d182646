/** In microseconds since 1970, as perch keeps times. */
let last = 0;

/**
 * The time now, and always later than all that were given before, whatever becomes of the device's clock: of two changes of a field the later is the one
 * that stays, also when both were made within a millisecond, or when the clock was set back in between.
 */
export function nextTime(): string {
  last = Math.max(Date.now() * 1_000, last + 1);
  const micros = String(last % 1_000_000).padStart(6, "0");
  return `${new Date(Math.floor(last / 1_000)).toISOString().slice(0, 19)}.${micros}Z`;
}

/** From here on times are later than this one, which was given before a reload. */
export function afterTime(at: string): void {
  const [, whole = at, micros = "0"] = /^(.*)\.(\d{1,6})Z$/.exec(at) ?? [];
  const known = Date.parse(`${whole.replace(/Z$/, "")}Z`) * 1_000 + Number(micros.padEnd(6, "0"));
  if (known > last) last = known;
}
