import { Writable } from "node:stream";
import { pino } from "pino";
import { expect, it } from "vitest";
import { makeSpace, startNode } from "../gateway/support.js";
import { describeBothKinds } from "../support/databases.js";
import { sequence } from "../tables/support.js";
import { openEvents } from "./support.js";

const secret = "7-Hafnium";

describeBothKinds("rules of a synced table over HTTP", (open) => {
  it("show what is in sight in pages, snapshots and streams, and nothing else on any wire, in any log or notification", async () => {
    const t = await open();
    const texts: string[] = [];
    const logged = new Writable({ write: (line, _, done) => done(void texts.push(String(line))) });
    await t.db.listen(["perch_changes", "perch_captured"], {
      notify: (_, text) => void texts.push(text),
      ready: () => undefined,
    });
    await t.db.transaction((tx) =>
      tx.script(`
        create table public.people (id int primary key, team text, boss text, name text, salary text, level text,
          constraint paid check (salary is distinct from 'nothing'));
        select perch.sync_table('public.people', 'hr', space_column => 'team', writable_columns => '{boss,name,salary}',
          row_filter => 'boss = perch.current_user_id() or level::int > 5', column_roles => '{"salary": ["owner"]}')`),
    );
    await makeSpace(t, "team", "olga", { eddy: "editor" });
    const node = await startNode(t, { log: pino({ level: "trace" }, logged) });
    const post = async (path: string, body: object) => {
      const response = await fetch(`${node.gateway.url}/v1/${path}`, {
        method: "POST",
        headers: { authorization: "Bearer eddy" },
        body: JSON.stringify({ app_id: "hr", ...body }),
      });
      const text = await response.text();
      texts.push(text);
      return JSON.parse(text);
    };
    const write = async (sql: string) => {
      await t.db.query(sql);
      await sequence(t.db);
    };
    await write(
      `insert into people values (1, 'team', 'eddy', 'Ann', '${secret}', null), (2, 'team', 'olga', '${secret}', '${secret}', '${secret}')`,
    );
    const stream = await openEvents(node, "app_id=hr", { token: "eddy" });
    expect((await stream.next()).data.changes).toMatchObject([
      { op: "insert", id: "1", data: { id: 1, team: "team", boss: "eddy", name: "Ann", level: null } },
    ]);
    await write(`update people set name = '${secret}!' where id = 2`);
    await write(`update people set salary = '${secret}?' where id = 1`);
    await write("update people set name = 'Anna' where id = 1");
    expect((await stream.next()).data.changes).toMatchObject([{ op: "update", id: "1", data: { name: "Anna" } }]);
    await write(`update people set boss = 'olga', name = '${secret}' where id = 1`);
    expect((await stream.next()).data.changes).toMatchObject([{ op: "delete", id: "1", data: null }]);

    expect((await post("pull", { cursor: {} })).changes.map(({ op }: { op: string }) => op)).toEqual([
      "insert",
      "update",
      "delete",
    ]);
    expect((await post("snapshot", { space_id: "team" })).records).toEqual([]);
    const change = (op: string, id: string, data?: object) => ({
      op,
      table: "people",
      id,
      space_id: "team",
      ...(data && { data }),
    });
    const { results } = await post("push", {
      changes: [
        change("update", "2", { name: "mine" }),
        change("insert", "2", { name: "mine" }),
        change("update", "2", { salary: "nothing" }),
        change("delete", "2"),
        change("insert", "3", { boss: "eddy", name: "Ben", salary: "nothing" }),
      ],
    });
    expect(
      results.map(({ status, error }: { status: string; error?: { code: string } }) => error?.code ?? status),
    ).toEqual(["PE404", "PE409", "PE403", "applied", "PE403"]);
    expect(await t.db.query("select count(*) as count from people where id = 2")).toEqual([{ count: 1 }]);

    // The role counts with the next change.
    await t.asUser("olga", (tx) => tx.query("select perch.set_space_member('team', 'eddy', 'viewer')"));
    await write("update people set boss = 'eddy' where id = 2");
    const problem = await stream.next();
    expect(problem).toMatchObject({ event: "problem", data: { error: { code: "PE410" } } });
    texts.push(stream.text());
    expect(texts.join("\n")).toContain("Anna");
    expect(texts.join("\n")).not.toContain(secret);
  });
});
