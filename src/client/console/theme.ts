/** Dark, light, or as the system has it: kept in this browser. */
export type Theme = "system" | "light" | "dark";

const key = "perch-console-theme";
const themes: readonly Theme[] = ["system", "light", "dark"];
const listeners = new Set<() => void>();

export function theme(): Theme {
  const kept = localStorage.getItem(key);
  return themes.find((each) => each === kept) ?? "system";
}

export function setTheme(next: Theme): void {
  localStorage.setItem(key, next);
  applyTheme();
}

export function applyTheme(): void {
  const chosen = theme();
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  for (const listener of listeners) listener();
}

/** Calls back when the colours change, by the switch or by the system. Out: ends it. */
export function onColours(listener: () => void): () => void {
  const query = matchMedia("(prefers-color-scheme: dark)");
  listeners.add(listener);
  query.addEventListener("change", listener);
  return () => {
    listeners.delete(listener);
    query.removeEventListener("change", listener);
  };
}
