import { hasList, type Transport } from "./transport.js";
import type { Role, Space, SpaceDetails } from "./types.js";

/** Shared spaces and their members: docs/http.md has who may do what. */
export interface Spaces {
  /** All spaces that the user may read. */
  list(options?: { signal?: AbortSignal }): Promise<Space[]>;
  /** The user becomes its owner. A repeat is harmless. */
  create(spaceId: string): Promise<void>;
  /** Members, a page at a time: pass `next` as `after`. */
  read(spaceId: string, page?: { after?: string; pageSize?: number; signal?: AbortSignal }): Promise<SpaceDetails>;
  setMember(spaceId: string, userId: string, role: Role): Promise<void>;
  /** Of another, for owners; of the user's own: leaves the space. */
  removeMember(spaceId: string, userId: string): Promise<void>;
  /** Out: a text to be put into a link; it is shown this once. */
  invite(spaceId: string, options?: { role?: Role; validMinutes?: number; maxUses?: number }): Promise<string>;
  /** Out: the space that the user is in now. */
  accept(invitation: string): Promise<string>;
  /** Takes one invitation back, by its id, or all. Out: how many there were. */
  revoke(spaceId: string, invitationId?: string): Promise<number>;
}

const part = (text: string) => encodeURIComponent(text);

export function createSpaces({ ask }: Transport): Spaces {
  const of = (spaceId: string) => `/v1/spaces/${part(spaceId)}`;
  return {
    async list({ signal } = {}) {
      const all: Space[] = [];
      for (let after: string | null = ""; after !== null; ) {
        const query: string = after === "" ? "" : `?${new URLSearchParams({ after })}`;
        const page = (await ask({
          method: "GET",
          path: `/v1/spaces${query}`,
          signal,
          isAnswer: hasList("spaces"),
        })) as {
          spaces: Space[];
          next: string | null;
        };
        all.push(...page.spaces);
        after = page.next;
      }
      return all;
    },
    async create(spaceId) {
      await ask({ method: "POST", path: "/v1/spaces", body: { space_id: spaceId } });
    },
    async read(spaceId, { after, pageSize, signal } = {}) {
      const query = new URLSearchParams();
      if (after !== undefined) query.set("after", after);
      if (pageSize !== undefined) query.set("page_size", String(pageSize));
      return (await ask({ method: "GET", path: `${of(spaceId)}?${query}`, signal })) as SpaceDetails;
    },
    async setMember(spaceId, userId, role) {
      await ask({ method: "PUT", path: `${of(spaceId)}/members/${part(userId)}`, body: { role } });
    },
    async removeMember(spaceId, userId) {
      await ask({ method: "DELETE", path: `${of(spaceId)}/members/${part(userId)}` });
    },
    async invite(spaceId, { role, validMinutes, maxUses } = {}) {
      const body = {
        ...(role !== undefined && { role }),
        ...(validMinutes !== undefined && { valid_minutes: validMinutes }),
        ...(maxUses !== undefined && { max_uses: maxUses }),
      };
      const { invitation } = (await ask({ method: "POST", path: `${of(spaceId)}/invitations`, body })) as {
        invitation: string;
      };
      return invitation;
    },
    async accept(invitation) {
      const answer = (await ask({ method: "POST", path: "/v1/invitations", body: { invitation } })) as {
        space_id: string;
      };
      return answer.space_id;
    },
    async revoke(spaceId, invitationId) {
      const path = `${of(spaceId)}/invitations${invitationId === undefined ? "" : `/${part(invitationId)}`}`;
      const { revoked } = (await ask({ method: "DELETE", path })) as { revoked: number };
      return revoked;
    },
  };
}
