import { useState } from "preact/hooks";
import { to } from "../address.js";
import { differences } from "../difference.js";
import { lanesOf } from "../lanes.js";
import { Badge, Card, Empty, Facts, Failure, Json, Loading, Table, Time, Title, Trail } from "../parts/basics.js";
import { useView } from "../use-view.js";
import { type Lease, LeaseBadge } from "./threads.js";

interface Checkpoint {
  readonly id: string;
  readonly parent_id: string | null;
  readonly seq: number;
  readonly step: number | null;
  readonly next_node: string | null;
  readonly metadata: string | null;
  readonly created_at: string;
}

interface Thread {
  readonly head_id: string | null;
  readonly format: string;
  readonly created_at: string;
  readonly lease: Lease | null;
  readonly checkpoints: readonly Checkpoint[];
}

interface State {
  readonly state: unknown;
  readonly length: number;
}

interface Place {
  readonly tenant: string;
  readonly thread: string;
  readonly namespace: string;
}

/** A thread: its checkpoints as the tree that they are, the state of each, and what changed between two. */
export function ThreadView(place: Place) {
  const { tenant, thread, namespace } = place;
  const { data, error } = useView<Thread>("thread", { tenant_id: tenant, thread_id: thread, namespace }, 3_000);
  const [chosen, setChosen] = useState<string>();
  const at = chosen ?? data?.head_id ?? undefined;
  return (
    <>
      <Trail
        steps={[
          ["Threads", to(["threads"])],
          [tenant, to(["threads", tenant])],
          [thread, undefined],
        ]}
      />
      <Title>{thread}</Title>
      {error !== undefined && <Failure error={error} />}
      {data === undefined ? (
        error === undefined && <Loading />
      ) : (
        <>
          <Facts
            facts={[
              ["Lease", <LeaseBadge key="lease" lease={data.lease} />],
              ["Expires", <Time key="expires" at={data.lease?.expires_at} />],
              ["Format", data.format],
              ["Made", <Time key="made" at={data.created_at} />],
            ]}
          />
          <div class="halves">
            <Card title="Checkpoints" flush>
              {data.checkpoints.length === 0 ? (
                <Empty title="No checkpoint" />
              ) : (
                <Tree checkpoints={data.checkpoints} head={data.head_id} chosen={at} choose={setChosen} />
              )}
            </Card>
            {at !== undefined && <Detail key={at} place={place} at={at} checkpoints={data.checkpoints} />}
          </div>
        </>
      )}
    </>
  );
}

const rowHeight = 40;
const laneWidth = 16;

function Tree(props: {
  checkpoints: readonly Checkpoint[];
  head: string | null;
  chosen: string | undefined;
  choose(id: string): void;
}) {
  const { checkpoints } = props;
  const placed = lanesOf(checkpoints);
  const width = (Math.max(...placed.map(({ lane }) => lane)) + 1) * laneWidth + 8;
  const x = (lane: number) => lane * laneWidth + 12;
  const y = (row: number) => row * rowHeight + rowHeight / 2;
  return (
    <div class="tree">
      <svg class="tree-lines" width={width} height={checkpoints.length * rowHeight} aria-hidden="true">
        {placed.map(({ lane, parentRow }, row) => {
          if (parentRow === undefined) return null;
          const below = placed[parentRow]?.lane ?? lane;
          const turn = y(parentRow) - rowHeight;
          const bend = `L ${x(lane)} ${turn} C ${x(lane)} ${turn + rowHeight / 2}, ${x(below)} ${turn + rowHeight / 2}, ${x(below)} ${y(parentRow)}`;
          const path = `M ${x(lane)} ${y(row)} ${lane === below ? `L ${x(below)} ${y(parentRow)}` : bend}`;
          return <path key={checkpoints[row]?.id} d={path} class={`lane-${lane % 4}`} />;
        })}
        {placed.map(({ lane }, row) => (
          <circle key={checkpoints[row]?.id} cx={x(lane)} cy={y(row)} r={4} class={`lane-${lane % 4}`} />
        ))}
      </svg>
      <ol class="tree-rows">
        {checkpoints.map(({ id, step, next_node, created_at }) => (
          <li key={id}>
            <button type="button" aria-pressed={id === props.chosen} onClick={() => props.choose(id)}>
              <span class="step">step {step ?? "–"}</span>
              <span class="grow">{next_node === null ? "" : `next: ${next_node}`}</span>
              {id === props.head && <Badge tone="good">head</Badge>}
              <Time at={created_at} />
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}

function Detail({ place, at, checkpoints }: { place: Place; at: string; checkpoints: readonly Checkpoint[] }) {
  const self = checkpoints.find(({ id }) => id === at);
  const [other, setOther] = useState(self?.parent_id ?? "");
  const question = { tenant_id: place.tenant, thread_id: place.thread, namespace: place.namespace };
  const state = useView<State>("checkpoint", { ...question, checkpoint_id: at });
  const nameOf = ({ step, next_node, seq }: Checkpoint) =>
    `#${seq}, step ${step ?? "–"}${next_node === null ? "" : `, next ${next_node}`}`;
  return (
    <div>
      <Card title="State">
        {state.error !== undefined && <Failure error={state.error} />}
        {state.data === undefined ? (
          state.error === undefined && <Loading />
        ) : state.data.state === null && state.data.length > 4 ? (
          <Empty title={`Too long to show: ${state.data.length} letters`} />
        ) : (
          <Json value={state.data.state} />
        )}
      </Card>
      <Card
        title="Difference"
        aside={
          <label class="base">
            <span class="faint">from</span>
            <select value={other} onChange={(event) => setOther(event.currentTarget.value)}>
              <option value="">nothing</option>
              {checkpoints
                .filter(({ id }) => id !== at)
                .map((each) => (
                  <option key={each.id} value={each.id}>
                    {nameOf(each) + (each.id === self?.parent_id ? " (parent)" : "")}
                  </option>
                ))}
            </select>
          </label>
        }
      >
        {other === "" || state.data === undefined ? (
          <p class="faint">Choose what to compare it with.</p>
        ) : (
          <Compared key={other} question={{ ...question, checkpoint_id: other }} after={state.data.state} />
        )}
      </Card>
    </div>
  );
}

function Compared({ question, after }: { question: Readonly<Record<string, string>>; after: unknown }) {
  const { data, error } = useView<State>("checkpoint", question);
  if (data === undefined) return error === undefined ? <Loading /> : <Failure error={error} />;
  return <Differences list={differences(data.state, after)} />;
}

const shown = (value: unknown) => (value === undefined ? "–" : JSON.stringify(value));

export function Differences({ list }: { list: ReturnType<typeof differences> }) {
  if (list.length === 0) return <p class="fine">They are the same.</p>;
  return (
    <Table label="Differences" head={["Where", "Before", "After"]}>
      {list.map(({ path, before, after }) => (
        <tr key={path}>
          <th scope="row">{path}</th>
          <td>
            <code class="value removed">{shown(before)}</code>
          </td>
          <td>
            <code class="value added">{shown(after)}</code>
          </td>
        </tr>
      ))}
    </Table>
  );
}
