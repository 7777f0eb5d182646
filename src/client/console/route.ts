import { useLayoutEffect, useState } from "preact/hooks";
import { parseRoute, type Route } from "./address.js";

/** Where one is now. */
export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  // Not behind the first picture: whoever goes on before it would not be heard.
  useLayoutEffect(() => {
    const changed = () => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
