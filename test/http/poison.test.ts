import { gzipSync } from "node:zlib";
import { pino } from "pino";
import { expect, it } from "vitest";
import { thrownByDriver } from "../../src/database/errors.js";
import { EngineBusy, EngineLost } from "../../src/engine/engine.js";
import { problemOf } from "../../src/http/problems.js";
import { KeysAway } from "../../src/identity/tokens.js";
import { startNode } from "../gateway/support.js";
import { describeBothKinds } from "../support/databases.js";

describeBothKinds("What the database cannot read", (open) => {
  async function start() {
    const t = await open();
    await t.db.query(`select perch.declare_table('app', 'pages', '{"title": "string", "n": "number"}')`);
    const node = await startNode(t);
    const ask = async (method: string, path: string, body?: string | Buffer, headers: Record<string, string> = {}) => {
      const response = await fetch(node.gateway.url + path, {
        method,
        ...(body !== undefined && { body }),
        headers: { authorization: "Bearer ada", "content-type": "application/json", ...headers },
      });
      const text = await response.text();
      // biome-ignore lint/suspicious/noExplicitAny: what the tests look into is what they expect
      return { status: response.status, text, json: JSON.parse(text) as any };
    };
    return { ...node, t, ask };
  }

  const good = (id: string, more = "") =>
    `{"op":"insert","table":"tasks","id":"${id}","data":{"n":9007199254740993${more}}}`;
  const bad = (value: string, more = "") =>
    `{"op":"insert","table":"tasks","id":"bad","op_id":"poison","data":{"t":${value}}${more}}`;
  const poisons: [string, string, RegExp][] = [
    ["half an emoji", '"\\ud83d"', /half a character/],
    ["the other half", '"a\\ude00b"', /half a character/],
    ["NUL", '"a\\u0000b"', /NUL/],
    ["a number of 200,000 digits", "1e200000", /number/],
    ["a number with an endless exponent", "-1e99999999999", /number/],
    ["a number that fills the memory", "1e131071", /number/],
    ["many of those", `[${"1e131071,".repeat(1_000)}1]`, /number/],
    ["a number that is no number in JavaScript", "1e309", /number/],
    ["900 nested arrays", `${"[".repeat(900)}${"]".repeat(900)}`, /nested/],
    ["200,000 nested arrays", `${"[".repeat(200_000)}${"]".repeat(200_000)}`, /nested/],
  ];

  it("is rejected by name in a push, and the other changes apply, exactly as they were sent", async () => {
    const { ask } = await start();
    for (const [name, poison, message] of poisons) {
      for (const beside of [[good(name), good(`${name} too`, ',"d":0.10')], []]) {
        const changes = [...beside.slice(0, 1), bad(poison, ',"space_id":null'), ...beside.slice(1)];
        const { status, json } = await ask(
          "POST",
          "/v1/push",
          `{"app_id":"app","client_id":"c","changes":[${changes.join(", ")}]}`,
        );
        expect(status, name).toBe(200);
        const at = beside.length === 0 ? 0 : 1;
        expect(json.results.map((result: { status: string }) => result.status)).toEqual(
          beside.length === 0 ? ["rejected"] : ["applied", "rejected", "applied"],
        );
        expect(json.results[at]).toMatchObject({
          op_id: "poison",
          space_id: "~ada",
          seq: null,
          error: { code: "PE422" },
        });
        expect(json.results[at].error.message, name).toMatch(message);
      }
    }
    const { text } = await ask("POST", "/v1/pull", '{"app_id":"app"}');
    expect(text.match(/9007199254740993/g)).toHaveLength(poisons.length * 2);
    expect(text).toContain('"d": 0.10');
  });

  it("is named in a patch, and in the arguments of any other call", async () => {
    const { ask } = await start();
    const page = "/v1/documents/~/app/pages/p";
    for (const [name, poison, message] of poisons) {
      const answer = await ask("PATCH", page, `{"patch":{"n":1,"title":${poison}}}`);
      expect(answer.status, name).toBe(422);
      if (name !== "900 nested arrays") expect(answer.json.error.message, name).toMatch(message);
    }
    expect((await ask("PATCH", page, '{"patch":{"n":1,"title":"\\ud83d"}}')).json.error).toMatchObject({
      code: "PE422",
      message: expect.stringContaining("patch.title"),
      detail: { argument: "patch", field: "title" },
    });
    expect((await ask("POST", "/v1/pull", '{"app_id":"app","cursor":{"x":"\\u0000"}}')).json.error).toMatchObject({
      code: "PE422",
      detail: { argument: "cursor", field: "x" },
    });
    const named: [method: string, path: string, body: string | undefined, detail: object][] = [
      ["POST", "/v1/push", '{"app_id":"a\\u0000","changes":[]}', { argument: "app_id", reason: "22P05" }],
      [
        "POST",
        "/v1/push",
        '{"app_id":"a","client_id":"\\ud83d","changes":[]}',
        { argument: "client_id", reason: "22P02" },
      ],
      ["POST", "/v1/pull", '{"app_id":"a","tables":["t","\\ud83d"]}', { argument: "tables", field: "1" }],
      ["POST", "/v1/spaces", '{"space_id":"\\ud83d"}', { argument: "space_id" }],
      ["GET", "/v1/spaces?after=%00", undefined, { argument: "after" }],
      ["GET", "/v1/changes?app_id=a%00", undefined, { argument: "app_id" }],
      ["GET", "/v1/changes?app_id=%ed%a0%bd", undefined, { argument: "app_id", expected: "UTF-8" }],
      [
        "GET",
        `/v1/changes?app_id=a&cursor=${encodeURIComponent('{"x":"\\u0000"}')}`,
        undefined,
        { argument: "cursor" },
      ],
      [
        "GET",
        `/v1/changes?app_id=a&fields=${encodeURIComponent('{"x":["\\ud83d"]}')}`,
        undefined,
        { argument: "fields" },
      ],
    ];
    for (const [method, path, body, detail] of named)
      expect(await ask(method, path, body), path).toMatchObject({ status: 422, json: { error: { detail } } });
    expect((await ask("GET", "/v1/documents/~/app/pages/%00")).status).toBe(404);
    expect((await ask("PATCH", page, '{"patch":{"title":"good"}}')).status).toBe(202);
  });

  it("is refused where numbers are too long together, once they are written out", async () => {
    const { ask } = await start();
    // Each may be stored; all of them would be the work of half a minute, of 400 kB of request.
    for (const number of ["1e307", "1e-307"]) {
      const numbers = `[${`${number},`.repeat(60_000)}1]`;
      for (const [method, path, body] of [
        ["POST", "/v1/push", `{"app_id":"app","changes":[${bad(numbers)}]}`],
        ["PATCH", "/v1/documents/~/app/pages/p", `{"patch":{"extra":${numbers}}}`],
      ] as const)
        expect(await ask(method, path, body)).toMatchObject({
          status: 413,
          json: { error: { detail: { limit: "written_out_bytes", max: 2 ** 24, got: 60_000 * 307 } } },
        });
    }
    // As text they are as long as they are sent.
    const text = `"${"1e307 ".repeat(60_000)}"`;
    expect((await ask("POST", "/v1/push", `{"app_id":"app","changes":[${bad(text)}]}`)).status).toBe(200);
  });

  it("is refused where a body is no text, with the reason", async () => {
    const { ask } = await start();
    const latin = Buffer.from(`{"app_id":"app","changes":[${bad('"café"')}]}`, "latin1");
    expect((await ask("POST", "/v1/push", latin)).json.error.message).toMatch(/not UTF-8/);
    expect(
      (await ask("PATCH", "/v1/documents/~/app/pages/p", Buffer.from([0x7b, 0xff, 0x7d]))).json.error.message,
    ).toMatch(/not UTF-8/);
    const zipped = gzipSync('{"app_id":"app"}');
    expect((await ask("POST", "/v1/pull", zipped)).json.error.message).toMatch(/gzip/);
    const declared = await ask("POST", "/v1/pull", zipped, { "content-encoding": "gzip" });
    expect(declared).toMatchObject({ status: 422, json: { error: { message: expect.stringMatching(/compressed/) } } });
  });
});

describeBothKinds("What a constraint refuses only at the commit", (open) => {
  it("is rejected by name in a push, and the others apply, also those that need one behind them", async () => {
    const t = await open();
    await t.db.transaction((tx) =>
      tx.script(`
        alter table perch.stored_records add constraint one_slug
          exclude using btree (space_id with =, (data ->> 'slug') with =) deferrable initially deferred;
        create function public.has_parent() returns trigger language plpgsql security definer as $$
        begin
          if not exists (select from perch.stored_records r where r.space_id = new.space_id and r.record_id = new.data ->> 'parent') then
            raise exception 'no parent' using errcode = 'foreign_key_violation', constraint = 'has_parent';
          end if;
          return null;
        end $$;
        create constraint trigger has_parent after insert or update on perch.stored_records deferrable initially deferred
          for each row when (new.data ? 'parent') execute function public.has_parent();`),
    );
    const { gateway } = await startNode(t);
    const push = async (...changes: [id: string, data: string][]) => {
      const all = changes.map(
        ([id, data]) => `{"op":"insert","table":"tasks","id":"${id}","op_id":"${id}","data":${data}}`,
      );
      const response = await fetch(`${gateway.url}/v1/push`, {
        method: "POST",
        body: `{"app_id":"app","client_id":"c","changes":[${all.join(",")}]}`,
        headers: { authorization: "Bearer ada", "content-type": "application/json" },
      });
      expect(response.status).toBe(200);
      const { results } = (await response.json()) as {
        results: { op_id: string; status: string; seq: number; error?: { code: string; detail: unknown } }[];
      };
      expect(results.map(({ op_id }) => op_id)).toEqual(changes.map(([id]) => id));
      return results.map(({ status, seq, error }) => error ?? `${status} ${seq}`);
    };
    const refusal = (constraint: string) =>
      expect.objectContaining({ code: "PE409", detail: expect.objectContaining({ constraint }) });
    // Right once all of it is there, which is what constraints are deferred for.
    expect(await push(["child", '{"parent": "p"}'], ["p", '{"slug": "a"}'])).toEqual(["applied 1", "applied 2"]);
    const mixed = [
      ["late child", '{"parent": "late"}'],
      ["orphan", '{"parent": "nobody"}'],
      ["twin", '{"slug": "a"}'],
      ["late", '{"n": 9007199254740993, "slug": "b"}'],
    ] as const;
    for (const again of ["applied", "replayed"])
      expect(await push(...mixed.map(([id, data]) => [id, data] as [string, string]))).toEqual([
        `${again} 3`,
        refusal("has_parent"),
        refusal("one_slug"),
        `${again} 4`,
      ]);
    expect(await push(["alone", '{"slug": "b"}'])).toEqual([refusal("one_slug")]);
    const [row] = await t.db.query<{ n: string }>(
      "select data ->> 'n' as n from perch.stored_records where record_id = 'late'",
    );
    expect(row?.n).toBe("9007199254740993");
  });
});

describeBothKinds("A mistake inside", (open) => {
  it("is 500 and in the log, and no database that cannot be reached: nobody is told to try it again", async () => {
    const t = await open();
    const lines: { level: number; err?: { type: string } }[] = [];
    const log = pino({ level: "warn" }, { write: (line) => lines.push(JSON.parse(line)) });
    let mistake: Error | undefined;
    const transaction: typeof t.db.transaction = (work) =>
      t.db.transaction((tx) => (mistake ? Promise.reject(mistake) : work(tx)));
    const { gateway } = await startNode(t, { log, db: { ...t.db, transaction } });
    const pull = () =>
      fetch(`${gateway.url}/v1/pull`, {
        method: "POST",
        body: '{"app_id": "app"}',
        headers: { authorization: "Bearer ada" },
      });
    for (mistake of [new TypeError("tx.ask is not a function"), new Error("perch.pull_text gave no row")]) {
      const answer = await pull();
      expect(answer.status).toBe(500);
      expect(answer.headers.get("retry-after")).toBeNull();
      expect(await answer.json()).toMatchObject({ error: { code: "PE500", word: "internal", detail: null } });
      expect(lines.splice(0).flatMap(({ err }) => err?.type ?? [])).toEqual([mistake.name]);
    }
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
    mistake = undefined;
    expect((await pull()).status).toBe(200);
  });
});

describeBothKinds("What was undone for the sake of another transaction", (open) => {
  it("is tried again, a few times; then it is 503, to be tried again by who asked", async () => {
    const t = await open();
    let undone = 0;
    let tries = 0;
    const transaction: typeof t.db.transaction = async (work) => {
      const result = await t.db.transaction(work);
      if (++tries > undone) return result;
      throw Object.assign(new Error("undone"), { code: tries % 2 === 0 ? "40001" : "40P01" });
    };
    const { gateway } = await startNode(t, { db: { ...t.db, transaction } });
    const pull = async (times: number) => {
      [undone, tries] = [times, 0];
      const answer = await fetch(`${gateway.url}/v1/pull`, {
        method: "POST",
        body: '{"app_id": "app"}',
        headers: { authorization: "Bearer ada" },
      });
      return { status: answer.status, again: answer.headers.get("retry-after") !== null };
    };
    expect(await pull(4)).toEqual({ status: 200, again: false });
    expect(await pull(Number.POSITIVE_INFINITY)).toEqual({ status: 503, again: true });
  });
});

it("errors of the database are answered by whose fault they are", () => {
  const coded = (code: string, more: object = {}) => Object.assign(new Error("failed"), { code, ...more });
  const status = (error: unknown) => problemOf(error).status;
  expect(status(new TypeError("x is not a function"))).toBe(500);
  // Drivers throw what everybody throws: it counts where it was caught.
  const plain = () => new Error("Connection terminated unexpectedly");
  expect([status(plain()), status(thrownByDriver(plain()))]).toEqual([500, 503]);
  expect(status(thrownByDriver(new TypeError("x is not a function")))).toBe(500);
  expect(problemOf(new KeysAway(plain()))).toMatchObject({
    status: 503,
    message: expect.not.stringMatching(/database/),
  });
  expect(problemOf(new EngineLost("replaced"))).toMatchObject({
    status: 503,
    message: expect.not.stringMatching(/database/),
  });
  expect(problemOf(new EngineBusy("full"))).toMatchObject({
    status: 503,
    message: expect.not.stringMatching(/database/),
  });
  expect(status(coded("42703"))).toBe(500);
  expect(status(coded("XX000"))).toBe(500);
  for (const state of ["40001", "40P01", "55P03", "57014", "53100", "57P01", "08006", "25006"])
    expect(status(coded(state)), state).toBe(503);
  for (const code of ["ECONNRESET", "EPIPE"]) expect(status(thrownByDriver(coded(code))), code).toBe(503);
  expect(status(coded("54000", { file: "async.c" }))).toBe(503);
  expect(status(coded("54000", { file: "jsonb_util.c" }))).toBe(422);
  expect(status(coded("22P05"))).toBe(422);
  expect(problemOf(coded("23514", { constraint: "short_titles" }))).toMatchObject({
    status: 422,
    detail: { constraint: "short_titles" },
  });
  expect(problemOf(coded("23505", { constraint: "one_a_day" }))).toMatchObject({
    status: 409,
    detail: { constraint: "one_a_day" },
  });
});
