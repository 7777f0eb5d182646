import { z } from "zod";
import { meaningOf } from "../database/errors.js";
import type { Shares } from "../database/shares.js";
import type { Queryable } from "../database/types.js";
import { documentId } from "../documents/key.js";
import type { LiveDocuments } from "../documents/live.js";
import { readLiveDocument } from "../documents/reading.js";
import { isPerchErrorCode, PerchError } from "../errors.js";
import type { Identity } from "../identity/identity.js";
import { createLanes } from "../lib/lanes.js";
import { isSuspicious, refuseUnreadable } from "./json-input.js";
import type { OnBehalf } from "./on-behalf.js";
import type { HttpSettings } from "./settings.js";
import { parsedBody } from "./shapes.js";

/** The parts of /v1/documents/{space}/{app}/{table}/{record}. */
export interface NamedDocument {
  readonly appId: string;
  readonly tableName: string;
  readonly recordId: string;
  /** Null: the user's personal space. */
  readonly spaceId: string | null;
}

/** In a path the personal space is `~`: proxies collapse an empty part. An empty one is taken for it, too, as in a room id. */
export function documentParts({ space, app, table, record }: Readonly<Record<string, string>>): NamedDocument {
  const spaceId = space === "~" || space === "" ? null : (space ?? null);
  return { spaceId, appId: app ?? "", tableName: table ?? "", recordId: record ?? "" };
}

const position = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

export const documentQuery = {
  seq: position.optional().describe("the document as it was at this position; the current one when not given"),
};

export const documentAnswer = z.object({
  space_id: z.string(),
  app_id: z.string(),
  table: z.string(),
  id: z.string(),
  /** The position that `data` shows. */
  seq: z.number(),
  /** What identifies it, to be used as `base_revision` with `base_seq`; null where that is folded away. */
  revision: z.number().nullable(),
  data: z.record(z.string(), z.unknown()),
});

export const patchBody = z.strictObject({
  patch: z.record(z.string(), z.unknown()),
  base_seq: z.int().nonnegative().nullish(),
  base_revision: z.int().nonnegative().nullish(),
  client_id: z.string().nullish(),
  op_id: z.string().nullish(),
});

export const patchAnswer = z.object({
  seq: z.number(),
  /** What identifies it, to be used as `base_revision` with it as `base_seq`; null where nothing does. */
  revision: z.number().nullable(),
  /** Pending: it is stored, and will be merged by a worker. */
  status: z.enum(["merged", "pending"]),
});

export const historyQuery = {
  before: position.optional().describe("only what is earlier than this position: next of the page before"),
  max_count: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000)
    .optional()
    .describe("versions in a page at most; 100 when not given"),
};

export const historyAnswer = z.object({
  versions: z.array(
    z.object({
      seq: z.number(),
      first_seq: z.number(),
      user_id: z.string(),
      client_id: z.string().nullable(),
      actor: z.record(z.string(), z.unknown()).nullable(),
      first_at: z.string(),
      last_at: z.string(),
      updates: z.number(),
      bytes: z.number(),
    }),
  ),
  /** What to pass as `before` for the next page; null after the last. */
  next: z.number().nullable(),
});

export interface DocumentRequestServices {
  readonly shares: Shares;
  readonly onBehalf: OnBehalf;
  readonly live: LiveDocuments;
  readonly settings: Pick<HttpSettings, "mergePatienceMs" | "connectionsPerUser">;
}

export interface DocumentRequests {
  /** The document as JSON text of `documentAnswer`, now or at a position. Errors: PE401, PE403, PE404, PE410. */
  read(identity: Identity, parts: NamedDocument, seq: number | undefined): Promise<string>;
  /**
   * Pushes a patch (the body is JSON text of `patchBody`), and waits a while for a worker to merge it. Errors: as
   * perch.patch_document; and those with which the worker set it aside.
   */
  patch(identity: Identity, parts: NamedDocument, body: string): Promise<z.output<typeof patchAnswer>>;
  /** JSON text of `historyAnswer`. Errors: PE401, PE403, PE404, PE422. */
  history(
    identity: Identity,
    parts: NamedDocument,
    page: { before?: number | undefined; max_count?: number | undefined },
  ): Promise<string>;
  /** Waits for no worker any more. */
  close(): void;
}

// Under the user's context, so the policies decide what is seen.
const currentSql = `
  select * from perch.current_document(app_id => $1, table_name => $2, record_id => $3, space_id => $4)`;

interface CurrentRow {
  in_space: string;
  seq: number;
  revision: number;
  data: string | null;
}

const argumentOf = (name: string, cast = "") => `${name} => ($5::jsonb ->> '${name}')${cast}`;
const patchSql = `
  select p.seq, p.revision, coalesce($4, perch.personal_space_id(perch.current_user_id())) as space_id
    from perch.submit_patch(app_id => $1, table_name => $2, record_id => $3, space_id => $4, patch => $5::jsonb -> 'patch',
           ${argumentOf("base_seq", "::bigint")}, ${argumentOf("base_revision", "::bigint")},
           ${argumentOf("client_id")}, ${argumentOf("op_id")}) p`;

const historySql = `
  select perch.versions_page(app_id => $1, table_name => $2, record_id => $3, space_id => $4,
                             before => $5, max_count => $6) as answer`;

const pushedSql = `
  select * from perch.inbox_item(space_id => $1, app_id => $2, table_name => $3, record_id => $4, seq => $5)`;

const defaultMaxCount = 100;
/** Documents read from their copies at once: an engine's thread serves one call after the other, those of who types among them. */
const engineReadsAtOnce = 4;
/** When a patch is looked for again that this node has not seen merged: another node may merge it. */
const firstLookMs = 20;

/** Documents over plain HTTP, each call on its user's behalf. */
export function createDocumentRequests({
  shares,
  onBehalf,
  live,
  settings,
}: DocumentRequestServices): DocumentRequests {
  /** Those who wait for something to be committed in a document. */
  const waiting = new Map<string, Set<() => void>>();
  const { engineReads } = createLanes(engineReadsAtOnce, { engineReads: { perOwner: settings.connectionsPerUser } });
  let closed = false;
  const stop = live.onCommitted(({ id }) => {
    for (const wake of waiting.get(id) ?? []) wake();
  });

  async function read(identity: Identity, parts: NamedDocument, seq: number | undefined): Promise<string> {
    const { appId, tableName, recordId } = parts;
    const current = await onBehalf.look(identity, (tx) => lookAt(tx, parts));
    const answer = (at: number, revision: number | null, data: string) => {
      const address = { space_id: current.in_space, app_id: appId, table: tableName, id: recordId };
      return `${JSON.stringify({ ...address, seq: at, revision }).slice(0, -1)},"data":${data}}`;
    };
    if (current.data !== null && (seq === undefined || seq === current.seq)) {
      return answer(current.seq, current.revision, current.data);
    }
    const db = shares.of(identity.userId);
    const address = { ...parts, spaceId: current.in_space };
    const document = await engineReads.run(identity.userId, () =>
      readLiveDocument({ db, live }, identity, address, seq),
    );
    return answer(document.seq, document.revision, JSON.stringify(document.data));
  }

  async function lookAt(tx: Queryable, { spaceId, appId, tableName, recordId }: NamedDocument): Promise<CurrentRow> {
    const [row] = await tx.query<CurrentRow>(currentSql, [appId, tableName, recordId, spaceId]);
    if (row === undefined) throw new Error("perch.current_document gave no row");
    return row;
  }

  async function patch(identity: Identity, parts: NamedDocument, body: string) {
    await parsedBody(patchBody, body, ["patch"]);
    const { spaceId, appId, tableName, recordId } = parts;
    if (await isSuspicious(body)) await refuseUnreadable(onBehalf, identity, body);
    const [pushed] = await onBehalf
      .write(identity, [spaceId], (tx) =>
        tx.last<{ seq: number; revision: number | null; space_id: string }>(patchSql, [
          appId,
          tableName,
          recordId,
          spaceId,
          body,
        ]),
      )
      .catch(async (error: unknown) => {
        if (meaningOf(error) === "input") await refuseUnreadable(onBehalf, identity, body);
        throw error;
      });
    if (pushed === undefined) throw new Error("perch.patch_document gave no position");
    const { seq, revision } = pushed;
    const key = { ...parts, spaceId: pushed.space_id };
    const deadline = Date.now() + settings.mergePatienceMs;
    for (let pause = firstLookMs; ; pause *= 2) {
      // While the process stops its worker begins nothing more.
      const left = closed ? 0 : deadline - Date.now();
      if (left > 0) await committedIn(documentId(key), Math.min(pause, left));
      const [item] = await shares.reads.query<{ status: string; error: unknown }>(pushedSql, [
        key.spaceId,
        appId,
        tableName,
        recordId,
        seq,
      ]);
      if (item === undefined) return { seq, revision, status: "merged" as const };
      if (item.status === "rejected") throw asideError(item.error, seq);
      if (left <= 0) return { seq, revision, status: "pending" as const };
    }
  }

  /** Resolves when something was committed in the document, or after a while. */
  async function committedIn(id: string, ms: number): Promise<void> {
    const waiters = waiting.get(id) ?? new Set();
    waiting.set(id, waiters);
    let timer: NodeJS.Timeout | undefined;
    let wake = () => {};
    await new Promise<void>((resolve) => {
      wake = resolve;
      waiters.add(wake);
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
    waiters.delete(wake);
    if (waiters.size === 0 && waiting.get(id) === waiters) waiting.delete(id);
  }

  return {
    read,
    patch,
    close() {
      closed = true;
      stop();
      for (const waiters of waiting.values()) for (const wake of waiters) wake();
    },
    history(identity, { spaceId, appId, tableName, recordId }, { before, max_count: maxCount = defaultMaxCount }) {
      return onBehalf.look(identity, async (tx) => {
        const params = [appId, tableName, recordId, spaceId, before ?? null, maxCount];
        const [row] = await tx.last<{ answer: string }>(historySql, params);
        return row?.answer ?? "null";
      });
    },
  };
}

const asideSchema = z.object({ code: z.string(), message: z.string(), detail: z.unknown() });

/** The error with which a worker set a patch aside. */
function asideError(error: unknown, seq: number): PerchError {
  const { data } = asideSchema.safeParse(error);
  const code = data !== undefined && isPerchErrorCode(data.code) ? data.code : "PE422";
  const detail = typeof data?.detail === "object" && data.detail !== null ? data.detail : {};
  return new PerchError(code, data?.message ?? "the patch could not be merged", { ...detail, pushed_seq: seq });
}
