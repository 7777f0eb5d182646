import { useState } from "preact/hooks";
import { to } from "../address.js";
import { Badge, Empty, Failure, Loading, Table, Time, Title } from "../parts/basics.js";
import { useView } from "../use-view.js";

export interface Lease {
  readonly holder: string;
  readonly token: number;
  readonly expires_at: string;
  readonly live: boolean;
}

interface Page {
  readonly tenants: readonly string[];
  readonly tenant_id: string | null;
  readonly threads: readonly {
    readonly thread_id: string;
    readonly namespace: string;
    readonly format: string;
    readonly checkpoints: number;
    readonly step: number | null;
    readonly next_node: string | null;
    readonly updated_at: string | null;
    readonly lease: Lease | null;
  }[];
}

export function LeaseBadge({ lease }: { lease: Lease | null }) {
  if (lease === null) return <span class="faint">–</span>;
  return <Badge tone={lease.live ? "good" : "warn"}>{`${lease.holder}${lease.live ? "" : ", expired"}`}</Badge>;
}

/** The threads of agents, tenant by tenant. */
export function Threads({ tenant }: { tenant: string | undefined }) {
  const [search, setSearch] = useState("");
  const { data, error } = useView<Page>("threads", { tenant_id: tenant, search, page_size: 200 }, 3_000);
  return (
    <>
      <Title
        aside={
          <label class="search">
            <span class="hidden">Search threads by how they begin</span>
            <input
              type="search"
              placeholder="Begins with…"
              value={search}
              onInput={(event) => setSearch(event.currentTarget.value)}
            />
          </label>
        }
      >
        Threads
      </Title>
      {error !== undefined && <Failure error={error} />}
      {data !== undefined && data.tenants.length > 1 && (
        <nav class="tabs" aria-label="Tenants">
          {data.tenants.map((each) => (
            <a key={each} href={to(["threads", each])} aria-current={each === data.tenant_id ? "page" : undefined}>
              {each}
            </a>
          ))}
        </nav>
      )}
      {data === undefined ? (
        error === undefined && <Loading />
      ) : data.threads.length === 0 ? (
        <Empty title={search === "" ? "No thread" : `No thread begins with “${search}”`}>
          A thread is a run of an agent whose checkpoints are kept here.
        </Empty>
      ) : (
        <Table
          label="Threads"
          head={[
            "Thread",
            "Next node",
            { text: "Checkpoints", class: "number" },
            { text: "Step", class: "number wide" },
            "Lease",
            { text: "Latest", class: "wide" },
          ]}
        >
          {data.threads.map((thread) => (
            <tr key={`${thread.thread_id} ${thread.namespace}`}>
              <td>
                <a
                  href={to([
                    "threads",
                    data.tenant_id ?? "",
                    thread.thread_id,
                    ...(thread.namespace === "" ? [] : [thread.namespace]),
                  ])}
                >
                  {thread.thread_id}
                </a>
                {thread.namespace !== "" && <span class="faint"> {thread.namespace}</span>}
              </td>
              <td>{thread.next_node ?? <span class="faint">–</span>}</td>
              <td class="number">{thread.checkpoints}</td>
              <td class="number wide">{thread.step ?? "–"}</td>
              <td>
                <LeaseBadge lease={thread.lease} />
              </td>
              <td class="wide">
                <Time at={thread.updated_at} />
              </td>
            </tr>
          ))}
        </Table>
      )}
    </>
  );
}
