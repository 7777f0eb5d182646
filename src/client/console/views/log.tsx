import { useEffect, useRef, useState } from "preact/hooks";
import { to } from "../address.js";
import { isPassing, view } from "../api.js";
import { Badge, Card, Empty, Failure, Loading, Table, Time } from "../parts/basics.js";

interface Entry {
  readonly space_id: string;
  readonly seq: number;
  readonly op: "insert" | "update" | "delete";
  readonly app_id: string;
  readonly table: string;
  readonly id: string;
  readonly user_id: string | null;
  readonly client_id: string | null;
  readonly origin: string | null;
  readonly fields: readonly string[] | null;
  readonly preview: string | null;
  readonly created_at: string;
}

interface Page {
  readonly entries: readonly Entry[];
  readonly head: number | null;
  readonly oldest: number | null;
  readonly reached: number | null;
}

const everyMs = 1_000;
const kept = 500;
const noFilters = { table_name: "", user_id: "", client_id: "" };
const names = { table_name: "Table", user_id: "User", client_id: "Client" } as const;

/** The log of a space as it happens: the newest on top, and older ones on demand. */
export function Log({ space }: { space: string }) {
  const [filters, setFilters] = useState(noFilters);
  const [live, setLive] = useState(true);
  const [entries, setEntries] = useState<readonly Entry[]>();
  const [reached, setReached] = useState<number>();
  const [oldest, setOldest] = useState(1);
  const [error, setError] = useState<unknown>();
  const head = useRef(0);
  const key = JSON.stringify([space, filters]);

  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    head.current = 0;
    setEntries(undefined);
    setReached(undefined);
    const look = async () => {
      try {
        const first = head.current === 0;
        const page = await view<Page>(
          "log",
          { space_id: space, ...filters, ...(first ? {} : { after_seq: head.current }) },
          stop.signal,
        );
        if (stop.signal.aborted) return;
        // A log that went back: a restore, say.
        if (head.current > (page.head ?? 0)) head.current = 0;
        else {
          head.current = page.head ?? 0;
          setEntries((before = []) => [...page.entries, ...(first ? [] : before)].slice(0, kept));
          if (first) setReached(page.reached ?? undefined);
          setOldest(page.oldest ?? 1);
        }
        setError(undefined);
      } catch (failure) {
        if (stop.signal.aborted) return;
        setError(failure);
        if (!isPassing(failure)) return;
      }
      if (live || head.current === 0) again();
    };
    const again = () => {
      timer = setTimeout(() => (document.hidden ? again() : void look()), everyMs);
    };
    void look();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [key, live]);

  const older = async () => {
    try {
      const page = await view<Page>("log", { space_id: space, ...filters, before_seq: reached });
      setLive(false);
      setEntries((before = []) => [...before, ...page.entries]);
      setReached(page.reached ?? undefined);
    } catch (failure) {
      setError(failure);
    }
  };

  return (
    <Card
      flush
      title="Log"
      aside={
        <label class="toggle">
          <input type="checkbox" checked={live} onChange={(event) => setLive(event.currentTarget.checked)} /> live
        </label>
      }
    >
      <div class="filters">
        {(Object.keys(names) as (keyof typeof names)[]).map((name) => (
          <label key={name}>
            {names[name]}
            <input
              value={filters[name]}
              onChange={(event) => setFilters({ ...filters, [name]: event.currentTarget.value.trim() })}
              placeholder="any"
            />
          </label>
        ))}
      </div>
      {error !== undefined && <Failure error={error} />}
      {entries === undefined ? (
        error === undefined && <Loading />
      ) : entries.length === 0 ? (
        <Empty title="Nothing here">
          {reached !== undefined && reached > oldest
            ? `Looked at down to ${reached}.`
            : "No change of this space is like that."}
        </Empty>
      ) : (
        <Table
          label="Log"
          head={[
            { text: "Seq", class: "number" },
            "Change",
            "Record",
            { text: "Content", class: "wide" },
            "By",
            { text: "Client", class: "wide" },
            "When",
          ]}
        >
          {entries.map((entry) => (
            <tr key={entry.seq}>
              <td class="number">{entry.seq}</td>
              <td>
                <Badge tone={entry.op === "delete" ? "bad" : entry.op === "insert" ? "good" : "neutral"}>
                  {entry.op}
                </Badge>
              </td>
              <td>
                <a href={to(["spaces", space, entry.app_id, entry.table, entry.id])}>{`${entry.table}/${entry.id}`}</a>
              </td>
              <td class="preview wide">{entry.preview ?? entry.fields?.join(", ") ?? ""}</td>
              <td>{entry.user_id ?? <i>SQL</i>}</td>
              <td class="wide">{entry.client_id ?? "–"}</td>
              <td>
                <Time at={entry.created_at} />
              </td>
            </tr>
          ))}
        </Table>
      )}
      {reached !== undefined && reached > oldest && (
        <div class="pager">
          <button type="button" onClick={() => void older()}>
            Older
          </button>
        </div>
      )}
    </Card>
  );
}
