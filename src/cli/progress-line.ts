/** A line on standard error that says how far something is: rewritten in place in a terminal, a new one every 5 s elsewhere. */
export function progressLine(): { show(text: string): void; end(): void } {
  const terminal = process.stderr.isTTY;
  const everyMs = terminal ? 200 : 5_000;
  let last = Date.now();
  let shown = false;
  return {
    show(text) {
      if (Date.now() - last < everyMs) return;
      last = Date.now();
      process.stderr.write(terminal ? `\r\u001b[K${text}` : `${text}\n`);
      shown = terminal;
    },
    end() {
      if (shown) process.stderr.write("\r\u001b[K");
      shown = false;
    },
  };
}
