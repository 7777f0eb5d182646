import { Badge, Card, Empty, Facts, Failure, Loading, Title } from "../parts/basics.js";
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

/** The app's own tables that are kept in sync: their options, whether every change is captured, and what waits for its number. */
export function Synced() {
  const { data, error } = useView<Page>("synced", {}, 2_000);
  if (data === undefined) return error === undefined ? <Loading /> : <Failure error={error} />;
  const waits = (app: string, table: string) =>
    data.waiting.find((each) => each.app_id === app && each.table === table);
  return (
    <>
      <Title>Synced tables</Title>
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
    </>
  );
}
