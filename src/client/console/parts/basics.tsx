import type { ComponentChildren } from "preact";
import { Problem } from "../api.js";

/** The heading of a view, with what stands beside it. */
export function Title({ children, aside }: { children: ComponentChildren; aside?: ComponentChildren }) {
  return (
    <header class="title">
      <h1>{children}</h1>
      {aside && <div class="title-aside">{aside}</div>}
    </header>
  );
}

export function Card(props: {
  title?: string;
  aside?: ComponentChildren;
  children: ComponentChildren;
  flush?: boolean;
}) {
  return (
    <section class={props.flush ? "card flush" : "card"}>
      {props.title && (
        <header class="card-head">
          <h2>{props.title}</h2>
          {props.aside}
        </header>
      )}
      {props.children}
    </section>
  );
}

/** Nothing to show, and what that means. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <p>{children}</p>}
    </div>
  );
}

/** What went wrong, and what happens next. */
export function Failure({ error }: { error: unknown }) {
  const passing = !(error instanceof Problem) || error.status >= 500 || error.status === 429;
  const message = error instanceof Problem ? error.message : "perch cannot be reached";
  return (
    <div class="failure" role="alert">
      <p>{message}</p>
      <p class="faint">{passing ? "Asking again…" : error instanceof Problem ? error.code : ""}</p>
    </div>
  );
}

export function Loading() {
  return (
    <div class="loading" role="status" aria-label="Loading">
      <span class="bar" />
      <span class="bar" />
      <span class="bar" />
    </div>
  );
}

export type Tone = "good" | "warn" | "bad" | "neutral";

export function Badge({ tone = "neutral", children }: { tone?: Tone; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

/** A table that scrolls by itself where there is no room. */
export function Table(props: {
  label: string;
  head: readonly (string | { text: string; class: string })[];
  children: ComponentChildren;
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard
    <section class="scroll" tabIndex={0} aria-label={props.label}>
      <table>
        <thead>
          <tr>
            {props.head.map((each) => {
              const { text, class: name } = typeof each === "string" ? { text: each, class: "" } : each;
              return (
                <th key={text} scope="col" class={name}>
                  {text}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>{props.children}</tbody>
      </table>
    </section>
  );
}

/** Facts as pairs. */
export function Facts({ facts }: { facts: readonly (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A moment: the time of today, the date of other days; all of it on hover. */
export function Time({ at }: { at: string | null | undefined }) {
  if (!at) return <span class="faint">–</span>;
  const date = new Date(at);
  const sameDay = date.toDateString() === new Date().toDateString();
  const text = sameDay
    ? date.toLocaleTimeString()
    : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  return (
    <time dateTime={at} title={at}>
      {text}
    </time>
  );
}

export function bytes(count: number | null | undefined): string {
  if (count == null) return "–";
  if (count < 1_000) return `${count} B`;
  if (count < 1_000_000) return `${(count / 1_000).toFixed(1)} kB`;
  return `${(count / 1_000_000).toFixed(1)} MB`;
}

/** How many of something, in words. */
export const several = (count: number, one: string): string => `${count} ${one}${count === 1 ? "" : "s"}`;

export const counted = (count: number, atMost: number): string => (count >= atMost ? `${atMost - 1}+` : String(count));

/** A trail of where one is. */
export function Trail({ steps }: { steps: readonly (readonly [string, string | undefined])[] }) {
  return (
    <nav class="trail" aria-label="Where you are">
      <ol>
        {steps.map(([text, href]) => (
          <li key={text}>{href ? <a href={href}>{text}</a> : <span aria-current="page">{text}</span>}</li>
        ))}
      </ol>
    </nav>
  );
}

/** JSON of somebody's, as text: it is shown, and never read as anything else. */
export function Json({ value, text }: { value?: unknown; text?: string }) {
  const shown = text ?? JSON.stringify(value, null, 2) ?? "undefined";
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard
    <pre class="json" tabIndex={0}>
      {shown}
    </pre>
  );
}
