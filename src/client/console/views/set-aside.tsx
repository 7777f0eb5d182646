import { useState } from "preact/hooks";
import { to } from "../address.js";
import { act } from "../api.js";
import { Badge, bytes, Card, counted, Empty, Failure, Json, Loading, Time, Title } from "../parts/basics.js";
import { useView } from "../use-view.js";

interface Item {
  readonly space_id: string;
  readonly app_id: string;
  readonly table: string;
  readonly id: string;
  readonly seq: number;
  readonly kind: "update" | "patch";
  readonly user_id: string;
  readonly client_id: string | null;
  readonly created_at: string;
  readonly error: { readonly code?: string; readonly message?: string; readonly detail?: unknown } | null;
  readonly bytes: number | null;
  readonly patch: string | null;
  readonly payload: string | null;
}

interface Page {
  readonly items: readonly Item[];
  readonly count: number;
  readonly pending: number;
}

interface Doctor {
  readonly findings:
    | readonly {
        readonly name: string;
        readonly level: string;
        readonly detail: string;
        readonly remedy: string | null;
      }[]
    | null;
}

/** What no document could take, why, and what to do with it; and upgrades that cannot lift what is stored. */
export function SetAside({ isAdmin }: { isAdmin: boolean }) {
  const { data, error, again } = useView<Page>("set_aside", {}, 5_000);
  const { data: doctor } = useView<Doctor>("doctor", {}, 60_000);
  const upgrades = doctor?.findings?.filter(({ name, level }) => name === "upgrades" && level !== "ok") ?? [];
  return (
    <>
      <Title aside={data && <span class="faint">{`${counted(data.pending, 10_000)} wait to be merged`}</span>}>
        Set aside
      </Title>
      {error !== undefined && <Failure error={error} />}
      {data === undefined ? (
        error === undefined && <Loading />
      ) : data.items.length === 0 ? (
        <Empty title="Nothing was set aside">
          What SQL callers push and no document can take would be here, with the reason. It holds up nobody.
        </Empty>
      ) : (
        <>
          {data.count > data.items.length && (
            <p class="faint">{`The latest ${data.items.length} of ${counted(data.count, 10_000)}.`}</p>
          )}
          {data.items.map((item) => (
            <ItemCard
              key={JSON.stringify([item.space_id, item.app_id, item.table, item.id, item.seq])}
              item={item}
              isAdmin={isAdmin}
              done={again}
            />
          ))}
        </>
      )}
      {upgrades.length > 0 && (
        <Card title="Rejected upgrades">
          <ul class="findings">
            {upgrades.map(({ detail, remedy }) => (
              <li key={detail}>
                <Badge tone="warn">upgrade</Badge>
                <div>
                  {detail}
                  {remedy && <p class="remedy">→ {remedy}</p>}
                </div>
              </li>
            ))}
          </ul>
        </Card>
      )}
    </>
  );
}

function ItemCard({ item, isAdmin, done }: { item: Item; isAdmin: boolean; done(): void }) {
  const [busy, setBusy] = useState(false);
  const [sure, setSure] = useState(false);
  const [failure, setFailure] = useState<unknown>();
  const { space_id, app_id, table, id, seq } = item;
  const run = async (action: "retry" | "discard") => {
    setBusy(true);
    try {
      await act(action, { space_id, app_id, table_name: table, record_id: id, seq });
      setFailure(undefined);
      done();
    } catch (error) {
      setFailure(error);
    }
    setBusy(false);
  };
  return (
    <Card>
      <div class="item">
        <div class="item-head">
          <Badge tone="bad">{item.error?.code ?? "refused"}</Badge>
          <a href={to(["spaces", space_id, app_id, table, id])}>{`${app_id}/${table}/${id}`}</a>
          <span class="faint">
            in {space_id}, position {seq}
          </span>
        </div>
        <p class="reason">{item.error?.message ?? "no reason was kept"}</p>
        <p class="faint">
          {item.kind} of {item.user_id}
          {item.client_id && ` (${item.client_id})`}, {bytes(item.bytes)}, <Time at={item.created_at} />
        </p>
        <details>
          <summary>What it is</summary>
          {item.patch !== null ? <Json text={item.patch} /> : <Json text={item.payload ?? "too long to show"} />}
          {item.error?.detail !== undefined && <Json value={item.error.detail} />}
        </details>
        {failure !== undefined && <Failure error={failure} />}
        {isAdmin && (
          <div class="actions">
            <button type="button" disabled={busy} onClick={() => void run("retry")}>
              Try again
            </button>
            {sure ? (
              <>
                <button type="button" class="danger" disabled={busy} onClick={() => void run("discard")}>
                  Discard for good
                </button>
                <button type="button" class="link" onClick={() => setSure(false)}>
                  Keep it
                </button>
              </>
            ) : (
              <button type="button" disabled={busy} onClick={() => setSure(true)}>
                Discard…
              </button>
            )}
          </div>
        )}
      </div>
    </Card>
  );
}
