import { useState } from "preact/hooks";
import { act } from "../api.js";
import { differences, textDifference } from "../difference.js";
import {
  Badge,
  bytes,
  Card,
  Empty,
  Facts,
  Failure,
  Json,
  Loading,
  several,
  Time,
  Title,
  Trail,
} from "../parts/basics.js";
import { useView } from "../use-view.js";
import { type RecordName, trailOf } from "./record.js";
import { Differences } from "./thread.js";

interface Version {
  readonly seq: number;
  readonly first_seq: number;
  readonly user_id: string;
  readonly client_id: string | null;
  readonly first_at: string;
  readonly last_at: string;
  readonly updates: number;
  readonly bytes: number;
}

interface Stored {
  readonly document: {
    readonly head_seq: number;
    readonly merged_seq: number;
    readonly projected_seq: number;
    readonly snapshot_seq: number;
    readonly snapshot_bytes: number | null;
    readonly tail_updates: number;
    readonly tail_bytes: number;
    readonly created_by: string;
    readonly created_at: string;
  };
  readonly presence: readonly { readonly user_id: string | null; readonly kind: string }[];
  readonly versions: readonly Version[];
}

interface Content {
  readonly seq: number;
  readonly data: Readonly<Record<string, unknown>>;
  readonly users: readonly string[];
}

/** A document: its content as people type, who is there, how it is stored, and what it was at any position. */
export function DocumentView({ name, isAdmin }: { name: RecordName; isAdmin: boolean }) {
  const stored = useView<Stored>("document", name, 2_000);
  const [at, setAt] = useState<number>();
  const [from, setFrom] = useState<number>();
  const live = useView<Content>("content", name, 700);
  const past = useView<Content>(at === undefined ? undefined : "content", { ...name, seq: at });
  const base = useView<Content>(from === undefined ? undefined : "content", { ...name, seq: from });
  const shown = at === undefined ? live : past;
  const users = [
    ...new Set([...(live.data?.users ?? []), ...(stored.data?.presence ?? []).flatMap(({ user_id }) => user_id ?? [])]),
  ];
  const { error } = stored;
  const facts = stored.data?.document;
  return (
    <>
      <Trail steps={trailOf(name, "document")} />
      <Title
        aside={at === undefined ? <Badge tone="good">live</Badge> : <Badge tone="warn">{`as it was at ${at}`}</Badge>}
      >
        {name.record_id}
      </Title>
      {error !== undefined && <Failure error={error} />}
      {facts && (
        <Facts
          facts={[
            ["Position", facts.head_seq],
            [
              "Snapshot",
              facts.snapshot_bytes === null ? "none yet" : `${bytes(facts.snapshot_bytes)} at ${facts.snapshot_seq}`,
            ],
            ["Tail", `${several(facts.tail_updates, "update")}, ${bytes(facts.tail_bytes)}`],
            ["Waits to be merged", facts.head_seq - facts.merged_seq],
            ["Record shows", facts.projected_seq],
            ["There now", users.length === 0 ? "nobody" : users.join(", ")],
          ]}
        />
      )}
      <div class="halves">
        <Card
          title={at === undefined ? "Content" : `Content at ${at}`}
          aside={at !== undefined && isAdmin && <GoBack name={name} seq={at} done={() => setAt(undefined)} />}
        >
          {shown.error !== undefined && <Failure error={shown.error} />}
          {shown.data?.data === undefined ? (
            shown.error === undefined && <Loading />
          ) : (
            <Fields data={shown.data.data} />
          )}
        </Card>
        <Card title="History" flush>
          {stored.data === undefined ? (
            <Loading />
          ) : stored.data.versions.length === 0 ? (
            <Empty title="No version yet" />
          ) : (
            <ol class="versions">
              <li>
                <button type="button" aria-pressed={at === undefined} onClick={() => setAt(undefined)}>
                  <span class="grow">Now, as people type</span>
                </button>
              </li>
              {stored.data.versions.map((version) => (
                <li key={version.seq}>
                  <button type="button" aria-pressed={at === version.seq} onClick={() => setAt(version.seq)}>
                    <span class="step">{version.seq}</span>
                    <span class="grow">
                      {version.user_id}{" "}
                      <span class="faint">{`${several(version.updates, "update")}, ${bytes(version.bytes)}`}</span>
                    </span>
                    <Time at={version.last_at} />
                  </button>
                </li>
              ))}
            </ol>
          )}
        </Card>
      </div>
      {stored.data !== undefined && stored.data.versions.length > 0 && (
        <Card
          title="Difference"
          aside={
            <label class="base">
              <span class="faint">from</span>
              <select
                value={from ?? ""}
                onChange={(event) =>
                  setFrom(event.currentTarget.value === "" ? undefined : Number(event.currentTarget.value))
                }
              >
                <option value="">nothing</option>
                {/* Versions are put together as they grow old: what was chosen stays chosen. */}
                {from !== undefined && stored.data.versions.every(({ seq }) => seq !== from) && (
                  <option value={from}>{from}</option>
                )}
                {stored.data.versions.map(({ seq, user_id }) => (
                  <option key={seq} value={seq}>{`${seq}, ${user_id}`}</option>
                ))}
              </select>
            </label>
          }
        >
          {from === undefined ? (
            <p class="faint">Choose a position to compare with what is shown.</p>
          ) : base.error !== undefined ? (
            <Failure error={base.error} />
          ) : base.data?.data === undefined || shown.data?.data === undefined ? (
            <Loading />
          ) : (
            <Changes before={base.data.data} after={shown.data.data} />
          )}
        </Card>
      )}
    </>
  );
}

/** Gives the document this content again: an edit like any other, which can be gone back from. */
function GoBack({ name, seq, done }: { name: RecordName; seq: number; done(): void }) {
  const [failure, setFailure] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    try {
      await act("revert", { ...name, seq });
      done();
    } catch (error) {
      setFailure(error);
      setBusy(false);
    }
  };
  return (
    <>
      <button type="button" disabled={busy} onClick={() => void run()}>
        Go back to this
      </button>
      {failure !== undefined && <Failure error={failure} />}
    </>
  );
}

function Fields({ data }: { data: Readonly<Record<string, unknown>> }) {
  const fields = Object.entries(data);
  if (fields.length === 0) return <Empty title="Empty" />;
  return (
    <dl class="content">
      {fields.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{typeof value === "string" ? <p class="text">{value}</p> : <Json value={value} />}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Texts by what was taken out and put in, all else by path. */
function Changes({
  before,
  after,
}: {
  before: Readonly<Record<string, unknown>>;
  after: Readonly<Record<string, unknown>>;
}) {
  const texts = Object.keys(after).filter(
    (key) => typeof before[key] === "string" && typeof after[key] === "string" && before[key] !== after[key],
  );
  const rest = (data: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(Object.entries(data).filter(([key]) => !texts.includes(key)));
  const others = differences(rest(before), rest(after));
  return (
    <>
      {texts.map((key) => {
        const { head, removed, added, tail } = textDifference(String(before[key]), String(after[key]));
        return (
          <div key={key} class="compared">
            <h3>{key}</h3>
            <p class="text">
              {head.length > 400 ? `…${head.slice(-400)}` : head}
              {removed !== "" && <del>{removed}</del>}
              {added !== "" && <ins>{added}</ins>}
              {tail.length > 400 ? `${tail.slice(0, 400)}…` : tail}
            </p>
          </div>
        );
      })}
      {(others.length > 0 || texts.length === 0) && <Differences list={others} />}
    </>
  );
}
