/** What perch answered that was no answer. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "Problem";
  }
}

/** Whether the same again may succeed in a moment. */
export const isPassing = (error: unknown): boolean =>
  !(error instanceof Problem) || error.status === 503 || error.status === 429 || error.status >= 500;

/** Relative to the page, so that it holds behind a proxy that puts something in front. */
const base = new URL("../v1/console", location.href);

const tokenKey = "perch-console-token";
let token = sessionStorage.getItem(tokenKey) ?? "";

export const hasToken = (): boolean => token !== "";

/** Kept for this tab alone. Empty: forgets it. */
export function setToken(next: string): void {
  token = next;
  if (next === "") sessionStorage.removeItem(tokenKey);
  else sessionStorage.setItem(tokenKey, next);
}

export type Question = Readonly<Record<string, string | number | undefined>>;

async function ask<T>(url: URL, init: RequestInit): Promise<T> {
  const response = await fetch(url, {
    ...init,
    cache: "no-store",
    credentials: "omit",
    headers: token === "" ? {} : { authorization: `Bearer ${token}` },
  });
  const body: unknown = await response.json().catch(() => undefined);
  if (response.ok) return body as T;
  const { error } = (body ?? {}) as { error?: { code?: string; message?: string } };
  throw new Problem(response.status, error?.code ?? `${response.status}`, error?.message ?? `HTTP ${response.status}`);
}

export function signInBy(signal?: AbortSignal): Promise<{ sign_in: "none" | "token" }> {
  return ask(base, signal ? { signal } : {});
}

export function view<T>(name: string, question: Question = {}, signal?: AbortSignal): Promise<T> {
  const url = new URL(`${base.pathname}/${name}`, base);
  for (const [key, value] of Object.entries(question)) {
    if (value !== undefined && value !== "") url.searchParams.set(key, String(value));
  }
  return ask(url, signal ? { signal } : {});
}

export function act<T>(name: string, body: object): Promise<T> {
  return ask(new URL(`${base.pathname}/${name}`, base), { method: "POST", body: JSON.stringify(body) });
}
