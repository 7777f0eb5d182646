type Data = Readonly<Record<string, unknown>>;

/**
 * The patch that gives a document the content of an earlier position. In: the kinds of its fields, what is there now, and what was there.
 * Out: only what differs: of a counter what is to be added, of all else the wanted value, null for what was not there.
 */
export function patchTo(fields: Readonly<Record<string, string>>, now: Data, past: Data): Record<string, unknown> {
  const patch: [string, unknown][] = [];
  for (const [name, kind] of Object.entries(fields)) {
    const [is, was] = [fieldOf(now, name), fieldOf(past, name)];
    if (JSON.stringify(is) === JSON.stringify(was)) continue;
    patch.push([name, kind === "counter" ? Number(was ?? 0) - Number(is ?? 0) : was]);
  }
  return Object.fromEntries(patch);
}

const fieldOf = (data: Data, name: string): unknown => (Object.hasOwn(data, name) ? (data[name] ?? null) : null);
