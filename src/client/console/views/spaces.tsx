import { useState } from "preact/hooks";
import { to } from "../address.js";
import { Badge, counted, Empty, Failure, Loading, Table, Title } from "../parts/basics.js";
import { useView } from "../use-view.js";

interface Page {
  readonly spaces: readonly {
    readonly space_id: string;
    readonly seq: number;
    readonly kind: "personal" | "members" | "token";
    readonly members: number;
  }[];
  readonly next: string | null;
}

const kinds = { personal: "personal", members: "shared", token: "by token" } as const;

/** The spaces, by how their names begin. */
export function Spaces() {
  const [search, setSearch] = useState("");
  /** Where the pages begin that were turned to. */
  const [pages, setPages] = useState<readonly string[]>([]);
  const { data, error } = useView<Page>("spaces", { search, after: pages.at(-1) });
  return (
    <>
      <Title
        aside={
          <label class="search">
            <span class="hidden">Search spaces by how they begin</span>
            <input
              type="search"
              placeholder="Begins with…"
              value={search}
              onInput={(event) => {
                setPages([]);
                setSearch(event.currentTarget.value);
              }}
            />
          </label>
        }
      >
        Spaces
      </Title>
      {error !== undefined && <Failure error={error} />}
      {data === undefined ? (
        error === undefined && <Loading />
      ) : data.spaces.length === 0 ? (
        <Empty title={search === "" ? "No space yet" : `No space begins with “${search}”`}>
          A space comes to be when somebody creates it, or writes to it.
        </Empty>
      ) : (
        <Table
          label="Spaces"
          head={["Space", "Kind", { text: "Members", class: "number" }, { text: "Changes", class: "number" }]}
        >
          {data.spaces.map(({ space_id, kind, members, seq }) => (
            <tr key={space_id}>
              <td>
                <a href={to(["spaces", space_id])}>{space_id}</a>
              </td>
              <td>
                <Badge>{kinds[kind]}</Badge>
              </td>
              <td class="number">{kind === "members" ? counted(members, 1_001) : "–"}</td>
              <td class="number">{seq}</td>
            </tr>
          ))}
        </Table>
      )}
      <Pager pages={pages} next={data?.next} turn={setPages} />
    </>
  );
}

/** Turns to the next page of a list, and back. */
export function Pager(props: {
  pages: readonly string[];
  next: string | null | undefined;
  turn(pages: readonly string[]): void;
}) {
  const { pages, next } = props;
  if (pages.length === 0 && !next) return null;
  return (
    <div class="pager">
      <button type="button" disabled={pages.length === 0} onClick={() => props.turn(pages.slice(0, -1))}>
        Back
      </button>
      <button type="button" disabled={!next} onClick={() => next && props.turn([...pages, next])}>
        Next
      </button>
    </div>
  );
}
