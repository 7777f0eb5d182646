import { useEffect, useState } from "preact/hooks";
import { type Route, to } from "./address.js";
import { hasToken, Problem, setToken, signInBy } from "./api.js";
import { sum } from "./figures.js";
import { Failure, Loading } from "./parts/basics.js";
import { useRoute } from "./route.js";
import { useSamples } from "./samples.js";
import { setTheme, type Theme, theme } from "./theme.js";
import { useView } from "./use-view.js";
import { DocumentView } from "./views/document.js";
import { Now } from "./views/now.js";
import { RecordView } from "./views/record.js";
import { SetAside } from "./views/set-aside.js";
import { SignIn } from "./views/sign-in.js";
import { SpaceView } from "./views/space.js";
import { Spaces } from "./views/spaces.js";
import { Synced } from "./views/synced.js";
import { ThreadView } from "./views/thread.js";
import { Threads } from "./views/threads.js";

export interface Overview {
  readonly me: string;
  readonly role: "viewer" | "admin";
  readonly release: string | null;
  readonly server: string;
  readonly nodes: readonly { readonly node_id: string; readonly seen_seconds: number }[];
  readonly actions: readonly {
    readonly at: string;
    readonly user_id: string;
    readonly action: string;
    readonly subject: Readonly<Record<string, unknown>>;
  }[];
}

/** Who somebody is in development mode who has not said so. */
const developer = "developer";

export function App() {
  const [by, setBy] = useState<"none" | "token" | undefined>();
  const [error, setError] = useState<unknown>();
  /** How often somebody came or went: each begins anew. */
  const [turns, turn] = useState(0);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = () =>
      signInBy().then(
        ({ sign_in }) => {
          if (sign_in === "none" && !hasToken()) setToken(developer);
          setBy(sign_in);
          setError(undefined);
        },
        (failure: unknown) => {
          setError(failure);
          timer = setTimeout(ask, 2_000);
        },
      );
    void ask();
    return () => clearTimeout(timer);
  }, []);
  if (by === undefined)
    return <main class="alone">{error === undefined ? <Loading /> : <Failure error={error} />}</main>;
  const anew = () => turn((n) => n + 1);
  if (!hasToken()) return <SignIn done={anew} />;
  const leave = () => {
    setToken("");
    location.hash = "";
    anew();
  };
  return <Shell key={turns} development={by === "none"} anew={anew} leave={leave} />;
}

const places = [
  ["now", "Now"],
  ["spaces", "Spaces"],
  ["set-aside", "Set aside"],
  ["synced", "Tables and shapes"],
  ["threads", "Threads"],
] as const;

function Shell({ development, anew, leave }: { development: boolean; anew(): void; leave(): void }) {
  const route = useRoute();
  const { data: overview, error } = useView<Overview>("overview", {}, 5_000);
  const samples = useSamples();
  const here = route.parts[0] ?? "now";
  if (error instanceof Problem && (error.status === 401 || error.status === 403)) {
    return <SignIn done={anew} refused={error.message} />;
  }
  const last = samples.list.at(-1);
  const aside = last && sum(last, "perch_set_aside_updates");
  const away = error !== undefined || samples.error !== undefined || (last && sum(last, "perch_database_up") === 0);
  return (
    <>
      <a class="skip" href="#content">
        To the content
      </a>
      <div class="shell">
        <aside class="side">
          <a class="brand" href="#/now">
            <Mark /> perch
          </a>
          <nav class="places" aria-label="Views">
            {places.map(([id, name]) => (
              <a key={id} href={to([id])} aria-current={here === id ? "page" : undefined}>
                {name}
                {id === "set-aside" && aside !== undefined && aside > 0 && <span class="count">{aside}</span>}
              </a>
            ))}
          </nav>
          <div class="me">
            <ThemeSwitch />
            <p>
              {overview?.me ?? "…"} <span class="faint">{development ? "development mode" : overview?.role}</span>
            </p>
            {!development && (
              <button type="button" class="link" onClick={leave}>
                Sign out
              </button>
            )}
          </div>
        </aside>
        <main id="content" tabIndex={-1}>
          {away && (
            <p class="banner" role="status">
              {samples.error !== undefined ? "perch cannot be reached" : "The database does not answer"}: what is shown
              is as it was. Asking again…
            </p>
          )}
          <View route={route} overview={overview} />
        </main>
      </div>
    </>
  );
}

function View({ route: { parts, query }, overview }: { route: Route; overview: Overview | undefined }) {
  const [place = "now", a, b, c, d, e] = parts;
  const isAdmin = overview?.role === "admin";
  switch (place) {
    case "now":
      return <Now overview={overview} />;
    case "spaces": {
      if (a === undefined) return <Spaces />;
      if (b === undefined || c === undefined || d === undefined) return <SpaceView key={a} space={a} query={query} />;
      const name = { space_id: a, app_id: b, table_name: c, record_id: d };
      const key = JSON.stringify(name);
      return e === "document" ? (
        <DocumentView key={key} name={name} isAdmin={isAdmin} />
      ) : (
        <RecordView key={key} name={name} />
      );
    }
    case "set-aside":
      return <SetAside isAdmin={isAdmin} />;
    case "synced":
      return <Synced />;
    case "threads":
      if (a === undefined || b === undefined) return <Threads tenant={a} />;
      return <ThreadView key={`${a} ${b} ${c}`} tenant={a} thread={b} namespace={c ?? ""} />;
    default:
      return (
        <div class="empty">
          <p class="empty-title">There is nothing here.</p>
          <p>
            <a href="#/now">To what happens now</a>
          </p>
        </div>
      );
  }
}

const themeNames: Readonly<Record<Theme, string>> = { system: "System", light: "Light", dark: "Dark" };

function ThemeSwitch() {
  const [chosen, setChosen] = useState(theme());
  return (
    <fieldset class="switch">
      <legend class="hidden">Colours</legend>
      {(Object.keys(themeNames) as Theme[]).map((each) => (
        <label key={each}>
          <input
            type="radio"
            name="theme"
            checked={chosen === each}
            onChange={() => {
              setTheme(each);
              setChosen(each);
            }}
          />
          <span>{themeNames[each]}</span>
        </label>
      ))}
    </fieldset>
  );
}

function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" class="mark-ground" />
      <path d="M6 22h20M16 22v-5" class="mark-line" />
      <path
        d="M9 13c0-4 3-6.500 7-6.500 3 0 5 1.500 5.800 3.700l2.700 1.100-2.800 1.200C21 15.500 18.800 17 16 17H9.500l2.300-2.600C10 14.500 9 14 9 13z"
        class="mark-bird"
      />
    </svg>
  );
}
