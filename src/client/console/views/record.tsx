import { useState } from "preact/hooks";
import { to } from "../address.js";
import { Badge, Card, Empty, Facts, Failure, Loading, Table, Time, Title, Trail } from "../parts/basics.js";
import { useView } from "../use-view.js";
import { AccessQuestion } from "./access.js";

export interface RecordName extends Readonly<Record<string, string>> {
  readonly space_id: string;
  readonly app_id: string;
  readonly table_name: string;
  readonly record_id: string;
}

interface Found {
  readonly kind: string;
  readonly seq: number;
  readonly deleted: boolean;
  readonly schema_version: number;
  readonly user_id: string;
  readonly created_at: string;
  readonly updated_at: string;
  readonly fields: readonly {
    readonly name: string;
    readonly value: string;
    readonly length: number;
    readonly stamp: string;
    readonly user_id: string | null;
    readonly seq: number | null;
  }[];
  readonly entries: readonly {
    readonly seq: number;
    readonly op: string;
    readonly user_id: string | null;
    readonly client_id: string | null;
    readonly fields: readonly string[];
    readonly created_at: string;
  }[];
}

export const trailOf = ({ space_id, app_id, table_name, record_id }: RecordName, last?: string) => {
  const record = to(["spaces", space_id, app_id, table_name, record_id]);
  return [
    ["Spaces", to(["spaces"])],
    [space_id, to(["spaces", space_id])],
    [`${app_id}/${table_name}`, to(["spaces", space_id], { app: app_id, table: table_name })],
    [record_id, last === undefined ? undefined : record],
    ...(last === undefined ? [] : [[last, undefined] as const]),
  ] as const;
};

/** One record: each field with who wrote it and when, and what the log has of it. */
export function RecordView({ name }: { name: RecordName }) {
  const { data, error } = useView<Found>("record", name, 3_000);
  const { space_id, ...inSpace } = name;
  return (
    <>
      <Trail steps={trailOf(name)} />
      <Title
        aside={
          data?.kind === "documents" && (
            <a class="button" href={to(["spaces", space_id, name.app_id, name.table_name, name.record_id, "document"])}>
              Open the document
            </a>
          )
        }
      >
        {name.record_id}
      </Title>
      {error !== undefined && <Failure error={error} />}
      {data === undefined ? (
        error === undefined && <Loading />
      ) : (
        <>
          <Facts
            facts={[
              ["Holds", <Badge key="kind">{data.kind}</Badge>],
              ["State", data.deleted ? <Badge tone="bad">deleted</Badge> : <Badge tone="good">live</Badge>],
              ["Seq", data.seq],
              ["Made", <Time key="made" at={data.created_at} />],
              ["Updated", <Time key="updated" at={data.updated_at} />],
              ["Schema version", data.schema_version],
            ]}
          />
          <Card title="Fields" flush>
            {data.fields.length === 0 ? (
              <Empty title="No field" />
            ) : (
              <Table label="Fields" head={["Field", "Value", "By", "When", { text: "Client", class: "wide" }]}>
                {data.fields.map((field) => {
                  const [at, ...client] = field.stamp.split(" ");
                  return (
                    <tr key={field.name}>
                      <th scope="row">{field.name}</th>
                      <td>
                        <Value text={field.value} length={field.length} />
                      </td>
                      <td>{field.user_id ?? <span class="faint">not among the last 5,000</span>}</td>
                      <td>
                        <Time at={at} />
                      </td>
                      <td class="wide">{client.join(" ") || "–"}</td>
                    </tr>
                  );
                })}
              </Table>
            )}
          </Card>
          <div class="columns">
            <Card title="In the log" flush>
              {data.entries.length === 0 ? (
                <Empty title="Nothing among the last 5,000 of the space" />
              ) : (
                <Table label="Entries" head={[{ text: "Seq", class: "number" }, "Change", "Fields", "By", "When"]}>
                  {data.entries.map((entry) => (
                    <tr key={entry.seq}>
                      <td class="number">{entry.seq}</td>
                      <td>{entry.op}</td>
                      <td class="preview">{entry.fields.join(", ")}</td>
                      <td>{entry.user_id ?? <i>SQL</i>}</td>
                      <td>
                        <Time at={entry.created_at} />
                      </td>
                    </tr>
                  ))}
                </Table>
              )}
            </Card>
            <AccessQuestion space={space_id} record={inSpace} />
          </div>
        </>
      )}
    </>
  );
}

const shownLength = 240;

function Value({ text, length }: { text: string; length: number }) {
  const [open, setOpen] = useState(false);
  if (text.length <= shownLength) return <code class="value">{text}</code>;
  return (
    <>
      <code class="value">{open ? text : `${text.slice(0, shownLength)}…`}</code>
      <button type="button" class="link" aria-expanded={open} onClick={() => setOpen(!open)}>
        {open ? "Less" : `All of it (${length} letters${length > text.length ? `, ${text.length} of them here` : ""})`}
      </button>
    </>
  );
}
