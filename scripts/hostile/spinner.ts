/** Takes all the processor time of one thread that it is given, until its parent ends. */
function spin(): void {
  const until = performance.now() + 5;
  while (performance.now() < until);
  setImmediate(spin);
}

process.on("disconnect", () => process.exit(0));
spin();
