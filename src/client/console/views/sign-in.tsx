import { useState } from "preact/hooks";
import { setToken } from "../api.js";

/** Asks for a token. It is kept for this tab alone, and sent to perch only. */
export function SignIn({ done, refused }: { done(): void; refused?: string }) {
  const [text, setText] = useState("");
  return (
    <main class="alone">
      <form
        class="card sign-in"
        onSubmit={(event) => {
          event.preventDefault();
          setToken(text.trim());
          done();
        }}
      >
        <h1>perch console</h1>
        {refused && (
          <p class="failure" role="alert">
            {refused}
          </p>
        )}
        <label>
          Token
          <input
            type="password"
            autocomplete="off"
            spellcheck={false}
            required
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <p class="faint">
          One with the claim <code>perch_role</code>: <code>viewer</code> reads, <code>admin</code> may act. Where
          PERCH_JWT_SECRET is set, <code>perch token --user you --console viewer</code> makes one.
        </p>
        <button type="submit">{refused ? "Sign in with another" : "Sign in"}</button>
      </form>
    </main>
  );
}
