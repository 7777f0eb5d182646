import { beforeAll, describe, expect, it } from "vitest";
import { postgres, type TestDatabase } from "../support/databases.js";
import { serving } from "../support/serving.js";

describe("spaces over HTTP", () => {
  const open = postgres();
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });

  it("are made, shared by invitation, left, and told of to those who may know", async () => {
    const node = await serving({ url: t.url ?? "" });
    const ok = async (user: string, method: string, path: string, body?: unknown) => {
      const answer = await node.call(user, method, path, body);
      expect(answer, `${method} ${path} by ${user}`).toMatchObject({ status: 200 });
      return answer.body as Record<string, unknown>;
    };
    const status = async (user: string, method: string, path: string, body?: unknown) =>
      (await node.call(user, method, path, body)).status;

    await ok("ann", "POST", "/v1/spaces", { space_id: "team a/b" });
    expect(await status("bob", "POST", "/v1/spaces", { space_id: "team a/b" })).toBe(409);
    const team = "/v1/spaces/team%20a%2Fb";
    await ok("ann", "PUT", `${team}/members/cleo`, { role: "viewer" });
    expect(await status("cleo", "PUT", `${team}/members/bob`, { role: "viewer" })).toBe(403);
    expect(await status("ann", "PUT", `${team}/members/bob`, { role: "king" })).toBe(422);

    const { invitation } = await ok("ann", "POST", `${team}/invitations`, { role: "editor" });
    expect(await status("cleo", "POST", `${team}/invitations`, {})).toBe(403);
    expect(await ok("bob", "POST", "/v1/invitations", { invitation })).toEqual({ space_id: "team a/b" });
    expect(await status("eve", "POST", "/v1/invitations", { invitation })).toBe(404);
    expect(await status("eve", "GET", team)).toBe(403);

    await ok("ann", "POST", `${team}/invitations`, { role: "viewer", max_uses: 5 });
    const seen = await ok("ann", "GET", team);
    const members = [
      { user_id: "ann", role: "owner" },
      { user_id: "bob", role: "editor" },
      { user_id: "cleo", role: "viewer" },
    ];
    expect(seen).toMatchObject({ space_id: "team a/b", members, invitations: [{ uses_left: 5 }], next: null });
    expect(await ok("cleo", "GET", team)).toMatchObject({ members, invitations: [] });
    const page = await ok("cleo", "GET", `${team}?page_size=2`);
    expect(page.next).toBe("bob");
    expect(await ok("cleo", "GET", `${team}?page_size=2&after=bob`)).toMatchObject({ members: members.slice(2) });
    const [open] = seen.invitations as { invitation_id: string }[];
    expect(await ok("ann", "DELETE", `${team}/invitations/${open?.invitation_id}`)).toEqual({ revoked: 1 });
    expect(await ok("ann", "DELETE", `${team}/invitations`)).toEqual({ revoked: 0 });

    expect(await ok("bob", "GET", "/v1/spaces")).toEqual({
      spaces: [
        { space_id: "team a/b", role: "editor", personal: false, from: "members" },
        { space_id: "~bob", role: "owner", personal: true, from: "token" },
      ],
      next: null,
    });
    expect(await ok("bob", "GET", "/v1/spaces/~")).toMatchObject({ space_id: "~bob", members: [] });

    await ok("bob", "DELETE", `${team}/members/bob`);
    expect(await status("bob", "GET", team)).toBe(403);
    expect(await status("cleo", "DELETE", `${team}/members/ann`)).toBe(403);
    expect(await status("ann", "DELETE", `${team}/members/ann`)).toBe(409);
    await ok("ann", "DELETE", `${team}/members/cleo`);
    expect(await ok("cleo", "GET", "/v1/spaces")).toMatchObject({ spaces: [{ space_id: "~cleo" }] });
  });
});
