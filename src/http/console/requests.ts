import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import type { z } from "zod";
import type { Shares } from "../../database/shares.js";
import type { Transaction } from "../../database/types.js";
import type { DocumentKey } from "../../documents/key.js";
import type { LiveDocuments } from "../../documents/live.js";
import { type ReadDocument, readDocumentAt } from "../../documents/reading.js";
import { PerchError } from "../../errors.js";
import type { TokenIdentity } from "../../identity/tokens.js";
import { createLanes } from "../../lib/lanes.js";
import { problem, RequestRefused } from "../problems.js";
import { parsedBody } from "../shapes.js";
import { patchTo } from "./revert.js";
import { actions, type ConsoleQuestion, consoleActionBody, views } from "./views.js";

export interface ConsoleServices {
  readonly shares: Shares;
  readonly live: LiveDocuments;
  readonly log: Logger;
  /** The figures of this process in the text format of Prometheus. */
  figures(): Promise<string>;
  /** What this process knows of shapes. */
  shapes(): { readonly readers: readonly object[]; readonly slow: readonly object[] };
  /** What perch doctor says; undefined where nobody can say it. */
  readonly doctor?: (() => Promise<readonly object[]>) | undefined;
  /** Who has a document open on this node: the users, by its address. */
  usersIn(document: DocumentKey): readonly string[];
}

export interface ConsoleRequests {
  /** Answers a view, as JSON text. Errors: PE403 without a role in the console; PE404 for no view; PE422; what the view raises. */
  view(identity: TokenIdentity, name: string, question: ConsoleQuestion): Promise<string>;
  /** Does something; `body`: JSON text of `consoleActionBody`. Errors: PE403 for a viewer; PE404 for no action; PE422. */
  act(identity: TokenIdentity, name: string, body: string): Promise<string>;
}

type DocumentQuestion = Omit<z.output<typeof consoleActionBody>, "seq">;

/** Looking at everything takes the database a while: whoever asks meanwhile is told the same. */
const examinedMs = 15_000;
/** Positions of documents that the console shows at once: editors share the engine's threads. */
const readsAtOnce = 2;
const turnMs = 10_000;

/**
 * The console's questions and actions. Who may is the token's word, checked here and again by the SQL functions, which are told who asks
 * and as what (`perch.enter_console`); questions are asked in transactions that can write nothing.
 */
export function createConsoleRequests({ shares, live, log, ...services }: ConsoleServices): ConsoleRequests {
  /** Names this process: behind a balancer the next answer may be another's. */
  const node = randomUUID();
  const { reads } = createLanes(readsAtOnce, { reads: { perOwner: 1 } });
  let examined: { readonly at: number; readonly findings: Promise<readonly object[]> } | undefined;

  function roleOf({ consoleRole }: TokenIdentity): "admin" | "viewer" {
    if (consoleRole !== undefined) return consoleRole;
    const message = 'the console is for tokens with the claim perch_role: "admin" or "viewer"';
    throw new RequestRefused(problem(403, "forbidden", message, { claim: "perch_role" }));
  }

  function inside<T>(identity: TokenIdentity, readOnly: boolean, work: (tx: Transaction) => Promise<T>): Promise<T> {
    const role = roleOf(identity);
    const asked = async (tx: Transaction) => {
      if (readOnly) await tx.script("set transaction read only");
      await tx.query("select perch.enter_console(user_id => $1, role => $2)", [identity.userId, role]);
      return work(tx);
    };
    return shares.turn(identity.userId, (db) => db.transaction(asked), performance.now() + turnMs);
  }

  async function ask(tx: Transaction, sql: string, named: [string, unknown][]): Promise<string> {
    const list = named.map(([name], nth) => `${name} => $${nth + 1}`).join(", ");
    const params = named.map(([, value]) => value);
    const [row] = await tx.query<{ answer: string }>(`select ${sql}(${list})::text as answer`, params);
    return row?.answer ?? "null";
  }

  function fromDatabase(identity: TokenIdentity, name: string, question: ConsoleQuestion): Promise<string> {
    const view = Object.hasOwn(views, name) ? views[name] : undefined;
    if (view === undefined) throw new RequestRefused(problem(404, "not_found", "the console has no such view"));
    const missing = view.needs.find((argument) => question[argument] === undefined);
    if (missing !== undefined) throw new PerchError("PE422", `${missing} is missing`, { argument: missing });
    const named = [...view.needs, ...view.takes]
      .map((argument): [string, unknown] => [argument, question[argument]])
      .filter(([, value]) => value !== undefined);
    return inside(identity, true, (tx) => ask(tx, view.sql, named));
  }

  /** What `perch.console_revert` needs: the patch to an earlier position, and the position that it was made for. */
  async function revertTo(
    identity: TokenIdentity,
    { seq, ...key }: z.output<typeof consoleActionBody>,
  ): Promise<[string, unknown][] | undefined> {
    const { fields } = JSON.parse(await fromDatabase(identity, "document", { ...key, page_size: 1 })) as {
      fields: Record<string, string> | null;
    };
    const [past, now] = [await contentOf(identity, key, seq), await contentOf(identity, key, undefined)];
    const patch = patchTo(fields ?? {}, now.data, past.data);
    if (Object.keys(patch).length === 0) return undefined;
    const base = { base_seq: now.seq, ...(now.revision !== null && { base_revision: now.revision }) };
    return Object.entries({ ...key, patch: JSON.stringify(patch), seq, ...base });
  }

  function contentOf(identity: TokenIdentity, key: DocumentQuestion, seq: number | undefined): Promise<ReadDocument> {
    const { space_id: spaceId, app_id: appId, table_name: tableName, record_id: recordId } = key;
    const db = shares.of(identity.userId);
    return reads.run(identity.userId, () => readDocumentAt({ db, live }, { spaceId, appId, tableName, recordId }, seq));
  }

  /** A document as JSON, with who has it open here. That it is there, and that whoever asks may see it, the database says first. */
  async function content(identity: TokenIdentity, question: ConsoleQuestion): Promise<string> {
    await fromDatabase(identity, "document", { ...question, page_size: 1 });
    const { space_id = "", app_id = "", table_name = "", record_id = "", seq } = question;
    const read = await contentOf(identity, { space_id, app_id, table_name, record_id }, seq);
    const key = { spaceId: space_id, appId: app_id, tableName: table_name, recordId: record_id };
    return JSON.stringify({ ...read, users: services.usersIn(key) });
  }

  async function findings(): Promise<string> {
    if (services.doctor === undefined) return JSON.stringify({ findings: null });
    if (examined === undefined || Date.now() - examined.at > examinedMs) {
      examined = { at: Date.now(), findings: services.doctor() };
      // Nobody is told of it twice.
      examined.findings.catch(() => {
        examined = undefined;
      });
    }
    const { at, findings } = examined;
    return JSON.stringify({ at: new Date(at).toISOString(), findings: await findings });
  }

  return {
    async view(identity, name, question) {
      roleOf(identity);
      if (name === "figures") return JSON.stringify({ node, at: Date.now(), text: await services.figures() });
      if (name === "shapes") return JSON.stringify({ node, ...services.shapes() });
      if (name === "doctor") return findings();
      if (name === "content") return content(identity, question);
      return fromDatabase(identity, name, question);
    },
    async act(identity, name, body) {
      roleOf(identity);
      const sql = Object.hasOwn(actions, name) ? actions[name] : undefined;
      if (sql === undefined) throw new RequestRefused(problem(404, "not_found", "the console has no such action"));
      const given = await parsedBody(consoleActionBody, body, []);
      // The database says so, too; documents need not be read for it.
      if (roleOf(identity) !== "admin") throw new PerchError("PE403", "a viewer changes nothing in the console");
      const named = name === "revert" ? await revertTo(identity, given) : Object.entries(given);
      if (named === undefined) return JSON.stringify({ done: false });
      const answer = await inside(identity, false, (tx) => ask(tx, sql, named));
      log.info({ userId: identity.userId, action: name, subject: given }, "done in the console");
      return answer;
    },
  };
}
