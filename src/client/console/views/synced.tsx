import { Badge, Card, Empty, Facts, Failure, Loading, several, Table, Time, Title } from "../parts/basics.js";
import { useView } from "../use-view.js";

interface Page {
  readonly tables: readonly {
    readonly app_id: string;
    readonly table: string;
    readonly relation: string;
    readonly space_column: string | null;
    readonly space_id: string | null;
    readonly space_expression: string | null;
    readonly columns: readonly string[] | null;
    readonly writable_columns: readonly string[];
    readonly documents: Readonly<Record<string, string>>;
    readonly row_filter: string | null;
    readonly column_roles: Readonly<Record<string, readonly string[]>>;
    readonly always: boolean;
    readonly synced_at: string;
    readonly problems: readonly string[];
    readonly rows: number | null;
  }[];
  readonly waiting: readonly {
    readonly app_id: string;
    readonly table: string;
    readonly changes: number;
    readonly seconds: number;
  }[];
}

interface Shapes {
  readonly readers: readonly { readonly appId: string; readonly table: string; readonly count: number }[];
  readonly slow: readonly {
    readonly table: string;
    readonly where: string;
    readonly times: number;
    readonly totalMs: number;
    readonly slowestMs: number;
    readonly ended: number;
    readonly userId: string;
    readonly lastAt: string;
  }[];
}

/**
 * The app's own tables that are kept in sync: their options, whether every change is captured, what waits for its number, who waits for what is
 * new; and which filters of shapes take long.
 */
export function Synced() {
  const { data, error } = useView<Page>("synced", {}, 2_000);
  const { data: shapes } = useView<Shapes>("shapes", {}, 2_000);
  const readers = (app: string, table: string) =>
    shapes?.readers.find((each) => each.appId === app && each.table === table)?.count ?? 0;
  if (data === undefined) return error === undefined ? <Loading /> : <Failure error={error} />;
  const waits = (app: string, table: string) =>
    data.waiting.find((each) => each.app_id === app && each.table === table);
  return (
    <>
      <Title>Tables and shapes</Title>
      {error !== undefined && <Failure error={error} />}
      {data.tables.length === 0 && (
        <Empty title="No synced table">
          perch.sync_table makes a table of yours part of the log, whoever writes it.
        </Empty>
      )}
      {data.tables.map((table) => {
        const waiting = waits(table.app_id, table.table);
        return (
          <Card
            key={`${table.app_id} ${table.table}`}
            title={table.relation}
            aside={
              table.problems.length === 0 ? (
                <Badge tone="good">every change is captured</Badge>
              ) : (
                <Badge tone="bad">not whole</Badge>
              )
            }
          >
            {table.problems.length > 0 && (
              <ul class="problems" role="alert">
                {table.problems.map((each) => (
                  <li key={each}>{each}</li>
                ))}
              </ul>
            )}
            <Facts
              facts={[
                ["App and table", `${table.app_id}/${table.table}`],
                [
                  "Space",
                  table.space_column
                    ? `column ${table.space_column}`
                    : (table.space_id ?? table.space_expression ?? "–"),
                ],
                ["Rows, about", table.rows ?? "not known yet"],
                [
                  "Waits for numbers",
                  waiting === undefined ? "nothing" : `${waiting.changes} for ${waiting.seconds.toFixed(1)} s`,
                ],
                [
                  "Shapes, on this node",
                  shapes === undefined ? "–" : `${several(readers(table.app_id, table.table), "reader")} waiting`,
                ],
                ["Columns", table.columns?.join(", ") ?? "all"],
                ["Clients write", table.writable_columns.join(", ") || "nothing"],
                [
                  "Documents",
                  Object.entries(table.documents)
                    .map(([name, kind]) => `${name} (${kind})`)
                    .join(", ") || "–",
                ],
                ["Row filter", table.row_filter === null ? "–" : <code key="filter">{table.row_filter}</code>],
              ]}
            />
          </Card>
        );
      })}
      {shapes !== undefined && <SlowFilters shapes={shapes} />}
    </>
  );
}

const milliseconds = (ms: number) => (ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`);

/** What readers of shapes ask that the database is long at. */
function SlowFilters({ shapes: { slow } }: { shapes: Shapes }) {
  return (
    <Card
      title="Slow filters"
      aside={<span class="faint">of shapes, from 50 ms on, on this node</span>}
      flush={slow.length > 0}
    >
      {slow.length === 0 ? (
        <Empty title="No filter was slow">
          A filter that the database is long at would be here, with how often and for whom. An index on what it compares
          helps.
        </Empty>
      ) : (
        <Table
          label="Slow filters"
          head={[
            "Table",
            "Filter",
            { text: "Slow", class: "number" },
            { text: "Longest", class: "number" },
            "Last, for",
          ]}
        >
          {slow.map((each) => (
            <tr key={`${each.userId} ${each.table} ${each.where}`}>
              <td>{each.table}</td>
              <td class="long">
                <code>{each.where}</code>
              </td>
              <td class="number">
                {`${each.times}×, ${milliseconds(each.totalMs)}`}
                {each.ended > 0 && <Badge tone="bad">{`ended ${each.ended}×`}</Badge>}
              </td>
              <td class="number">{milliseconds(each.slowestMs)}</td>
              <td>
                <Time at={each.lastAt} /> {each.userId}
              </td>
            </tr>
          ))}
        </Table>
      )}
    </Card>
  );
}
