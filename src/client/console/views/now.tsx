import { useMemo } from "preact/hooks";
import type { Overview } from "../app.js";
import { quantile, rate, type Sample, sum } from "../figures.js";
import { Badge, bytes, Card, Empty, Failure, Loading, Time, Title, type Tone } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { useSamples } from "../samples.js";
import { useView } from "../use-view.js";

interface Doctor {
  readonly at: string;
  readonly findings:
    | readonly {
        readonly name: string;
        readonly level: "ok" | "warning" | "error";
        readonly detail: string;
        readonly remedy: string | null;
      }[]
    | null;
}

const perSecond = (value: number) =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value === 0 ? 0 : 2);
const whole = (value: number) =>
  value >= 10_000 ? `${(value / 1_000).toFixed(0)}k` : String(Math.round(value * 10) / 10);
const duration = (seconds: number) =>
  seconds === 0
    ? "0"
    : seconds < 1
      ? `${(seconds * 1_000).toFixed(seconds < 0.01 ? 1 : 0)} ms`
      : `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;

const isPush = (labels: string) => labels.includes('path="/v1/push"');

/** Of neighbouring samples, what happened between them; nothing before the first. */
const between = (list: readonly Sample[], read: (before: Sample, after: Sample) => number | null) =>
  list.map((after, nth) => {
    const before = list[nth - 1];
    return before === undefined ? null : read(before, after);
  });

/** The processes, what they do a second, how long it takes, what lags; and what the doctor says. */
export function Now({ overview }: { overview: Overview | undefined }) {
  const { list, error } = useSamples();
  const charts = useMemo(() => {
    const gauge = (name: string) => list.map((sample) => sum(sample, name) ?? null);
    const counter = (name: string, fits?: (labels: string) => boolean) =>
      between(list, (a, b) => rate(a, b, name, fits));
    const share = (name: string, of: number) => between(list, (a, b) => quantile(a, b, name, of));
    return {
      times: list.map(({ at }) => at / 1_000),
      edits: counter("perch_edits_total"),
      pushes: counter("perch_requests_total", isPush),
      requests: counter("perch_requests_total"),
      sockets: gauge("perch_sockets"),
      rooms: gauge("perch_rooms"),
      streams: gauge("perch_streams"),
      commit50: share("perch_commit_seconds", 0.5),
      commit99: share("perch_commit_seconds", 0.99),
      request99: share("perch_request_seconds", 0.99),
      merging: gauge("perch_merge_lag_seconds"),
      records: gauge("perch_projection_lag_seconds"),
      sequencing: gauge("perch_sequencing_lag_seconds"),
      notifying: gauge("perch_notify_lag_seconds"),
    };
  }, [list]);
  const last = list.at(-1);
  if (last === undefined) return error === undefined ? <Loading /> : <Failure error={error} />;
  const latest = (values: readonly (number | null)[]) => values.at(-1) ?? undefined;
  const { times } = charts;
  return (
    <>
      <Title
        aside={
          overview && <span class="faint">{`perch ${overview.release ?? ""} · PostgreSQL ${overview.server}`}</span>
        }
      >
        Now
      </Title>
      <div class="tiles">
        <Tile name="Sockets" value={whole(sum(last, "perch_sockets") ?? 0)} />
        <Tile name="Edits a second" value={perSecond(latest(charts.edits) ?? 0)} />
        <Tile name="Pushes a second" value={perSecond(latest(charts.pushes) ?? 0)} />
        <Tile
          name="Commit, 99 %"
          value={latest(charts.commit99) === undefined ? "–" : duration(latest(charts.commit99) ?? 0)}
        />
        <Tile name="Open documents" value={whole(sum(last, "perch_documents") ?? 0)} />
        <Tile name="Memory" value={bytes(sum(last, "process_resident_memory_bytes"))} />
      </div>
      <div class="charts">
        <Chart
          title="Written, a second"
          times={times}
          lines={[
            { label: "edits", colour: 1 },
            { label: "pushes", colour: 2 },
          ]}
          values={[charts.edits, charts.pushes]}
          format={perSecond}
        />
        <Chart
          title="Connected"
          times={times}
          lines={[
            { label: "sockets", colour: 1 },
            { label: "rooms", colour: 2 },
            { label: "streams", colour: 3 },
          ]}
          values={[charts.sockets, charts.rooms, charts.streams]}
          format={whole}
        />
        <Chart
          title="How long it takes"
          times={times}
          lines={[
            { label: "commit 50 %", colour: 1 },
            { label: "commit 99 %", colour: 2 },
            { label: "request 99 %", colour: 3 },
          ]}
          values={[charts.commit50, charts.commit99, charts.request99]}
          format={duration}
        />
        <Chart
          title="What lags"
          times={times}
          lines={[
            { label: "merging", colour: 1 },
            { label: "records", colour: 2 },
            { label: "sequencing", colour: 3 },
            { label: "notifying", colour: 4 },
          ]}
          values={[charts.merging, charts.records, charts.sequencing, charts.notifying]}
          format={duration}
        />
      </div>
      <div class="columns">
        <DoctorCard />
        <div>
          <Nodes overview={overview} />
          <Actions overview={overview} />
        </div>
      </div>
    </>
  );
}

function Tile({ name, value }: { name: string; value: string }) {
  return (
    <div class="tile">
      <span class="tile-name">{name}</span>
      <span class="tile-value">{value}</span>
    </div>
  );
}

const tones: Readonly<Record<string, Tone>> = { ok: "good", warning: "warn", error: "bad" };

function DoctorCard() {
  const { data, error } = useView<Doctor>("doctor", {}, 60_000);
  if (data === undefined) {
    return <Card title="The doctor">{error === undefined ? <Loading /> : <Failure error={error} />}</Card>;
  }
  if (data.findings === null) {
    return (
      <Card title="The doctor">
        <Empty title="Not examined here">perch doctor looks at the database from the command line.</Empty>
      </Card>
    );
  }
  const wrong = data.findings.filter(({ level }) => level !== "ok");
  const fine = data.findings.filter(({ level }) => level === "ok");
  const line = (finding: (typeof fine)[number]) => (
    <li key={finding.name + finding.detail}>
      <Badge tone={tones[finding.level] ?? "neutral"}>{finding.level}</Badge>
      <div>
        <b>{finding.name}</b> {finding.detail}
        {finding.remedy && <p class="remedy">→ {finding.remedy}</p>}
      </div>
    </li>
  );
  return (
    <Card
      title="The doctor"
      aside={
        <span class="faint">
          <Time at={data.at} />
        </span>
      }
    >
      {wrong.length === 0 ? <p class="fine">Nothing is wrong.</p> : <ul class="findings">{wrong.map(line)}</ul>}
      <details>
        <summary>{`${fine.length} more that are well`}</summary>
        <ul class="findings">{fine.map(line)}</ul>
      </details>
    </Card>
  );
}

function Nodes({ overview }: { overview: Overview | undefined }) {
  const nodes = overview?.nodes ?? [];
  return (
    <Card title="Nodes">
      {nodes.length === 0 ? (
        <p class="faint">Only the one that answers: others would be seen here once they serve.</p>
      ) : (
        <ul class="plain">
          {nodes.map(({ node_id, seen_seconds }) => (
            <li key={node_id}>
              <code>{node_id.slice(0, 8)}</code>{" "}
              <span class="faint">seen {duration(Math.max(0, seen_seconds))} ago</span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function Actions({ overview }: { overview: Overview | undefined }) {
  const actions = overview?.actions ?? [];
  if (actions.length === 0) return null;
  return (
    <Card title="Done in the console">
      <ul class="plain">
        {actions.map(({ at, user_id, action, subject }) => (
          <li key={at + action}>
            <Time at={at} /> <b>{user_id}</b> {action} <code>{`${String(subject.table)}/${String(subject.id)}`}</code>{" "}
            <span class="faint">in {String(subject.space_id)}</span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
