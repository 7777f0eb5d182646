import { useState } from "preact/hooks";
import { to } from "../address.js";
import { Badge, Card, counted, Empty, Facts, Failure, Loading, Table, Time, Title, Trail } from "../parts/basics.js";
import { useView } from "../use-view.js";
import { AccessQuestion } from "./access.js";
import { Log } from "./log.js";
import { Pager } from "./spaces.js";

interface Space {
  readonly space_id: string;
  readonly space: { readonly created_by: string; readonly created_at: string } | null;
  readonly seq: number | null;
  readonly oldest_seq: number | null;
  readonly members: readonly { readonly user_id: string; readonly role: string; readonly since: string }[];
  readonly invitations: number;
  readonly tables: readonly {
    readonly app_id: string;
    readonly table: string;
    readonly kind: string;
    readonly records: number;
  }[];
}

/** A space: who is in it, what is in it, and its log as it happens. */
export function SpaceView({ space, query }: { space: string; query: URLSearchParams }) {
  const { data, error } = useView<Space>("space", { space_id: space }, 10_000);
  const app = query.get("app");
  const table = query.get("table");
  return (
    <>
      <Trail
        steps={[
          ["Spaces", to(["spaces"])],
          [space, undefined],
        ]}
      />
      <Title>{space}</Title>
      {error !== undefined && <Failure error={error} />}
      {data === undefined ? (
        error === undefined && <Loading />
      ) : (
        <>
          <Facts
            facts={[
              ["Changes", data.seq ?? 0],
              ["Log since", data.oldest_seq ?? "–"],
              ["Created", data.space === null ? "by tokens, or by itself" : <Time at={data.space.created_at} />],
              ["By", data.space?.created_by ?? "–"],
              ["Open invitations", data.invitations],
            ]}
          />
          <div class="columns">
            <Card title="Tables" flush>
              {data.tables.length === 0 ? (
                <Empty title="No records">Rows of synced tables are in the log below, and in their own tables.</Empty>
              ) : (
                <Table label="Tables" head={["App", "Table", "Holds", { text: "Records", class: "number" }]}>
                  {data.tables.map((each) => (
                    <tr
                      key={`${each.app_id} ${each.table}`}
                      class={each.app_id === app && each.table === table ? "chosen" : ""}
                    >
                      <td>{each.app_id}</td>
                      <td>
                        <a href={to(["spaces", space], { app: each.app_id, table: each.table })}>{each.table}</a>
                      </td>
                      <td>
                        <Badge>{each.kind}</Badge>
                      </td>
                      <td class="number">{counted(each.records, 1_001)}</td>
                    </tr>
                  ))}
                </Table>
              )}
            </Card>
            <div>
              <Card title="Members">
                {data.members.length === 0 ? (
                  <p class="faint">
                    {space.startsWith("~") ? "A personal space has no members." : "None here: tokens say who is in it."}
                  </p>
                ) : (
                  <ul class="plain">
                    {data.members.map(({ user_id, role }) => (
                      <li key={user_id}>
                        {user_id} <Badge>{role}</Badge>
                      </li>
                    ))}
                  </ul>
                )}
              </Card>
              <AccessQuestion space={space} />
            </div>
          </div>
        </>
      )}
      {app !== null && table !== null && <Records key={`${app} ${table}`} space={space} app={app} table={table} />}
      <Log space={space} />
    </>
  );
}

interface RecordsPage {
  readonly records: readonly {
    readonly id: string;
    readonly seq: number;
    readonly deleted: boolean;
    readonly user_id: string;
    readonly updated_at: string;
    readonly preview: string | null;
  }[];
  readonly next: string | null;
}

function Records({ space, app, table }: { space: string; app: string; table: string }) {
  const [search, setSearch] = useState("");
  const [pages, setPages] = useState<readonly string[]>([]);
  const question = { space_id: space, app_id: app, table_name: table, search, after: pages.at(-1) };
  const { data, error } = useView<RecordsPage>("records", question, 5_000);
  return (
    <Card
      flush
      title={`Records of ${table}`}
      aside={
        <label class="search">
          <span class="hidden">Search records by how their ids begin</span>
          <input
            type="search"
            placeholder="Id begins with…"
            value={search}
            onInput={(event) => {
              setPages([]);
              setSearch(event.currentTarget.value);
            }}
          />
        </label>
      }
    >
      {error !== undefined && <Failure error={error} />}
      {data === undefined ? (
        error === undefined && <Loading />
      ) : data.records.length === 0 ? (
        <Empty title="No record" />
      ) : (
        <Table
          label="Records"
          head={[
            "Id",
            "Content",
            "Written by",
            { text: "Updated", class: "wide" },
            { text: "Seq", class: "number wide" },
          ]}
        >
          {data.records.map((record) => (
            <tr key={record.id}>
              <td>
                <a href={to(["spaces", space, app, table, record.id])}>{record.id}</a>
              </td>
              <td class="preview">
                {record.deleted ? <Badge tone="bad">deleted</Badge> : (record.preview ?? <i>long</i>)}
              </td>
              <td>{record.user_id}</td>
              <td class="wide">
                <Time at={record.updated_at} />
              </td>
              <td class="number wide">{record.seq}</td>
            </tr>
          ))}
        </Table>
      )}
      <Pager pages={pages} next={data?.next} turn={setPages} />
    </Card>
  );
}
