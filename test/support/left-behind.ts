/** What all test files of a process share, and one of them may set: globals and the environment. Out: values by name. */
export function shared(): Map<string, unknown> {
  // What Node makes when it is first asked for has a getter until then.
  const values = Object.entries(Object.getOwnPropertyDescriptors(globalThis)).filter(
    ([, { get }]) => get === undefined,
  );
  return new Map<string, unknown>([
    ...values.map(([name, { value }]) => [name, value] as const),
    ...Object.entries(process.env).map(([name, value]) => [`process.env.${name}`, value] as const),
  ]);
}

/** Out: the names of what is not as it was. Globals that are new are a library's own; nobody counts on there being none. */
export function leftBehind(before: ReadonlyMap<string, unknown>, after: ReadonlyMap<string, unknown>): string[] {
  const isOf = (name: string) => before.has(name) || name.startsWith("process.env.");
  return [...new Set([...before.keys(), ...after.keys()])].filter(
    (name) => isOf(name) && !Object.is(before.get(name), after.get(name)),
  );
}
