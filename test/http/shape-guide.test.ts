import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Shape, ShapeStream } from "@electric-sql/client";
import { expect, it } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import { makeSpace, startNode, until } from "../gateway/support.js";
import { readBlocks } from "../support/blocks.js";
import { pglite } from "../support/databases.js";

const open = pglite();
const AsyncFunction = (async () => undefined).constructor as new (
  ...args: string[]
) => (...args: unknown[]) => Promise<void>;

it("docs/shapes.md does what it says", async () => {
  const t = await open();
  const page = await readFile(join(packageRoot, "docs", "shapes.md"), "utf8");
  const [sql, program, command, ...others] = readBlocks(page, ["sql", "ts", "sh"]);
  expect([sql?.language, program?.language, command?.language, others]).toEqual(["sql", "ts", "sh", []]);
  await makeSpace(t, "north", "nina");
  await t.db.transaction((tx) => tx.script(sql?.text ?? ""));
  const node = await startNode(t);
  const here = (text: string) => text.replaceAll("http://127.0.0.1:4466", node.gateway.url);

  const shown: { title: string }[][] = [];
  const streams: ShapeStream[] = [];
  class Stream extends ShapeStream {
    constructor(options: ConstructorParameters<typeof ShapeStream>[0]) {
      super(options);
      streams.push(this);
    }
  }
  const body = here((program?.text ?? "").replace(/^import .*$/gm, ""));
  await new AsyncFunction("Shape", "ShapeStream", "token", "show", body)(Shape, Stream, "nina", (rows: never) =>
    shown.push(rows),
  );
  await until(() => shown.length > 0, "the rows");
  expect(shown[0]?.map(({ title }) => title)).toEqual(["Feed the cat"]);
  await t.db.query("update issues set priority = 9 where title = 'Paint the fence'");
  await until(() => shown.at(-1)?.length === 2, "the row that came into sight");
  for (const stream of streams) stream.unsubscribeAll();

  const [, token = "", url = ""] =
    /^curl -H 'authorization: Bearer (\w+)' '(.*)'$/m.exec(here(command?.text ?? "")) ?? [];
  const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  expect(await answer.json()).toMatchObject([
    { value: { id: expect.any(String), title: "Paint the fence" } },
    { value: { title: "Feed the cat" } },
    { headers: { control: "snapshot-end" } },
  ]);
});
