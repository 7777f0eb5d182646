/** Where one is: the parts of the address behind the #, each percent-decoded, and what stands behind its ?. */
export interface Route {
  readonly parts: readonly string[];
  readonly query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/").filter((part) => part !== "");
  return { parts: parts.map(decoded), query: new URLSearchParams(query) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a place. Whatever the parts hold, it stays one of this page. */
export function to(parts: readonly string[], query: Readonly<Record<string, string | undefined>> = {}): string {
  const path = parts.map((part) => encodeURIComponent(part)).join("/");
  const given = Object.entries(query).flatMap(([name, value]) => (value ? [[name, value] as [string, string]] : []));
  return `#/${path}${given.length === 0 ? "" : `?${new URLSearchParams(given)}`}`;
}
