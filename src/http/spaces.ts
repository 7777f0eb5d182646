import { z } from "zod";
import type { Transaction } from "../database/types.js";
import type { Identity } from "../identity/identity.js";
import type { OnBehalf } from "./on-behalf.js";
import { parsedBody } from "./shapes.js";

const role = z.enum(["viewer", "editor", "owner"]);
const pageSize = z.coerce.number().int().min(1).max(10_000).optional().describe("1000 when not given");

export const spacesQuery = { after: z.string().optional().describe("next of the page before"), page_size: pageSize };

export const spacesAnswer = z.object({
  spaces: z.array(
    z.object({
      space_id: z.string(),
      role,
      personal: z.boolean(),
      /** Where the right comes from: the members of the space, or the token's own lists. */
      from: z.enum(["members", "token"]),
    }),
  ),
  next: z.string().nullable(),
});

export const spaceAnswer = z.object({
  space_id: z.string(),
  members: z.array(z.object({ user_id: z.string(), role })),
  /** Shown to owners only. */
  invitations: z.array(
    z.object({
      invitation_id: z.string(),
      role,
      uses_left: z.number(),
      created_by: z.string(),
      expires_at: z.string(),
    }),
  ),
  next: z.string().nullable(),
});

export const newSpaceBody = z.strictObject({ space_id: z.string() });
export const spaceIdAnswer = z.object({ space_id: z.string() });
export const memberBody = z.strictObject({ role });
export const invitationBody = z.strictObject({
  role: role.default("editor"),
  valid_minutes: z.int().min(1).max(527_040).default(10_080),
  max_uses: z.int().min(1).max(1_000_000).default(1),
});
export const invitationAnswer = z.object({ invitation: z.string() });
export const acceptBody = z.strictObject({ invitation: z.string() });
export const revokedAnswer = z.object({ revoked: z.number() });

/** Spaces and their members over HTTP: each a call of the SQL function that says who may, on the user's behalf. */
export interface SpaceRequests {
  /** JSON text of `spacesAnswer`. Errors: PE401, PE422. */
  list(identity: Identity, page: { after?: string | undefined; page_size?: number | undefined }): Promise<string>;
  /** JSON text of `spaceAnswer`. Errors: PE401, PE403, PE422. */
  read(
    identity: Identity,
    spaceId: string,
    page: { after?: string | undefined; page_size?: number | undefined },
  ): Promise<string>;
  /** `body`: JSON text of `newSpaceBody`. Errors: PE401, PE409 when the id is taken, PE422. */
  create(identity: Identity, body: string): Promise<string>;
  /** `body`: JSON text of `memberBody`. Errors: PE401, PE403, PE409, PE422. */
  setMember(identity: Identity, spaceId: string, userId: string, body: string): Promise<string>;
  /** Errors: PE401, PE403, PE409, PE422. */
  removeMember(identity: Identity, spaceId: string, userId: string): Promise<string>;
  /** `body`: JSON text of `invitationBody`. Errors: PE401, PE403, PE413, PE422. */
  invite(identity: Identity, spaceId: string, body: string): Promise<string>;
  /** Takes one invitation back, or all. Errors: PE401, PE403, PE422. */
  revoke(identity: Identity, spaceId: string, invitationId: string | null): Promise<string>;
  /** `body`: JSON text of `acceptBody`. Errors: PE401, PE404, PE422. */
  accept(identity: Identity, body: string): Promise<string>;
}

export function createSpaceRequests(onBehalf: OnBehalf): SpaceRequests {
  const ask = (sql: string, params: unknown[]) => async (tx: Transaction) => {
    const [row] = await tx.last<{ answer: string }>(`select ${sql}::text as answer`, params);
    return row?.answer ?? "null";
  };
  return {
    list: (identity, { after, page_size: size = 1_000 }) =>
      onBehalf.read(identity, ask("perch.list_spaces(after => $1, page_size => $2)", [after ?? null, size])),
    read: (identity, spaceId, { after, page_size: size = 1_000 }) =>
      onBehalf.read(
        identity,
        ask("perch.read_space(space_id => $1, after => $2, page_size => $3)", [
          spaceId === "~" ? null : spaceId,
          after ?? null,
          size,
        ]),
      ),
    async create(identity, body) {
      const { space_id: spaceId } = await parsedBody(newSpaceBody, body, []);
      await onBehalf.write(identity, [spaceId], ask("perch.create_space(space_id => $1)", [spaceId]));
      return JSON.stringify({ space_id: spaceId });
    },
    async setMember(identity, spaceId, userId, body) {
      const { role: given } = await parsedBody(memberBody, body, []);
      const params = [spaceId, userId, given];
      const sql = "perch.set_space_member(space_id => $1, user_id => $2, role => $3)";
      await onBehalf.write(identity, [spaceId], ask(sql, params));
      return JSON.stringify({ space_id: spaceId });
    },
    async removeMember(identity, spaceId, userId) {
      const sql = "perch.remove_space_member(space_id => $1, user_id => $2)";
      await onBehalf.write(identity, [spaceId], ask(sql, [spaceId, userId]));
      return JSON.stringify({ space_id: spaceId });
    },
    async invite(identity, spaceId, body) {
      const { role: given, valid_minutes: minutes, max_uses: uses } = await parsedBody(invitationBody, body, []);
      const sql =
        "perch.invite_to_space(space_id => $1, role => $2, valid_for => make_interval(mins => $3), max_uses => $4)";
      const invitation = await onBehalf.write(identity, [spaceId], ask(sql, [spaceId, given, minutes, uses]));
      return JSON.stringify({ invitation });
    },
    async revoke(identity, spaceId, invitationId) {
      const sql = "perch.revoke_invitation(space_id => $1, invitation_id => $2)";
      const revoked = await onBehalf.write(identity, [spaceId], ask(sql, [spaceId, invitationId]));
      return JSON.stringify({ revoked: Number(revoked) });
    },
    async accept(identity, body) {
      const { invitation } = await parsedBody(acceptBody, body, []);
      const spaceId = await onBehalf.write(
        identity,
        [],
        ask("perch.accept_invitation(invitation => $1)", [invitation]),
      );
      return JSON.stringify({ space_id: spaceId });
    },
  };
}
