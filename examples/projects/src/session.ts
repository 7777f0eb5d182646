/** Who is signed in on this device. */
export interface Session {
  readonly user: string;
  /** A JWT, whose `sub` is the user: perch asks for nothing else. */
  readonly token: string;
}

const name = "session";

export function currentSession(): Session | undefined {
  const kept = localStorage.getItem(name);
  return kept === null ? undefined : (JSON.parse(kept) as Session);
}

export async function signIn(user: string, password: string): Promise<Session> {
  const answer = await fetch("/sign-in", { method: "POST", body: JSON.stringify({ user, password }) });
  if (!answer.ok) throw new Error(await answer.text());
  const session: Session = { user, token: await answer.text() };
  localStorage.setItem(name, JSON.stringify(session));
  return session;
}

/** Also what Electric's client notes of shapes, by their addresses. */
export function forgetSession(): void {
  localStorage.clear();
}
