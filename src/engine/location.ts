/**
 * The URL of a thread module beside the module that asks. Threads run compiled code only: when the caller itself runs from
 * `src/` (tests), the same file of `dist/` is meant.
 * In: the caller's import.meta.url; the module's path relative to it, ending in `.js`.
 */
export function threadModule(callerUrl: string, path: string): URL {
  const url = new URL(path, callerUrl);
  if (!callerUrl.endsWith(".ts")) return url;
  const at = url.pathname.lastIndexOf("/src/");
  if (at >= 0) url.pathname = `${url.pathname.slice(0, at)}/dist/${url.pathname.slice(at + "/src/".length)}`;
  return url;
}
