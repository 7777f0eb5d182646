import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { until } from "../support/until.js";

const invite = (t: TestDatabase, user: string, options = "") =>
  t.asUser(user, async (tx) => {
    const [row] = await tx.query<{ token: string }>(`select perch.invite_to_space('team'${options}) as token`);
    return row?.token ?? "";
  });

const accept = (t: TestDatabase, user: string, token: string) =>
  t.asUser(user, async (tx) => {
    const [row] = await tx.query<{ space: string }>("select perch.accept_invitation(invitation => $1) as space", [
      token,
    ]);
    return row?.space;
  });

const membersOf = async (t: TestDatabase) => {
  const rows = await t.db.query<{ member: string }>(
    "select user_id || ' ' || role as member from perch.space_members where space_id = 'team' order by user_id",
  );
  return rows.map(({ member }) => member);
};

const refusal = (code: string) => expect.objectContaining({ code });

async function makeTeam(open: () => Promise<TestDatabase>): Promise<TestDatabase> {
  const t = await open();
  await t.asUser("olga", (tx) => tx.query("select perch.create_space(space_id => 'team')"));
  return t;
}

describeEachEngine("an invitation", (open) => {
  it("makes whoever has it a member with its role, who may use the space at once", async () => {
    const t = await makeTeam(open);
    const token = await invite(t, "olga", ", role => 'viewer'");
    const usable = await t.asUser("vera", async (tx: Transaction) => {
      await tx.query("select perch.accept_invitation(invitation => $1)", [token]);
      const [row] = await tx.query<{ readable: string[]; writable: string[] }>(
        "select perch.current_space_ids() as readable, perch.writable_space_ids() as writable",
      );
      return row;
    });
    expect(usable).toEqual({ readable: ["team", "~vera"], writable: ["~vera"] });
    expect(await membersOf(t)).toEqual(["olga owner", "vera viewer"]);
  });

  it("is used up, and a member who accepts one again uses nothing and keeps the role", async () => {
    const t = await makeTeam(open);
    const token = await invite(t, "olga", ", max_uses => 2");
    expect(await accept(t, "eddy", token)).toBe("team");
    expect(await accept(t, "eddy", token)).toBe("team");
    expect(await accept(t, "olga", token)).toBe("team");
    expect(await accept(t, "nina", token)).toBe("team");
    await expect(accept(t, "otto", token)).rejects.toEqual(refusal("PE404"));
    expect(await membersOf(t)).toEqual(["eddy editor", "nina editor", "olga owner"]);
  });

  it("ends with its time, or when it is taken back; the members it made stay", async () => {
    const t = await makeTeam(open);
    const late = await invite(t, "olga", ", valid_for => '1 minute'");
    await t.db.query("update perch.space_invitations set expires_at = clock_timestamp() - interval '1 second'");
    await expect(accept(t, "eddy", late)).rejects.toEqual(refusal("PE404"));
    const token = await invite(t, "olga", ", max_uses => 5");
    expect(await accept(t, "eddy", token)).toBe("team");
    await t.asUser("olga", (tx) => tx.query("select perch.revoke_invitation(space_id => 'team')"));
    await expect(accept(t, "nina", token)).rejects.toEqual(refusal("PE404"));
    expect(await membersOf(t)).toEqual(["eddy editor", "olga owner"]);
  });

  it("goes with the owner who made it: who was removed, or is an owner no more, does not come back by it", async () => {
    const t = await makeTeam(open);
    const asOlga = (call: string) => t.asUser("olga", (tx) => tx.query(`select perch.${call}`));
    for (const end of ["remove_space_member('team', 'eddy')", "set_space_member('team', 'eddy', 'editor')"]) {
      await asOlga("set_space_member('team', 'eddy', 'owner')");
      const kept = await invite(t, "eddy", ", role => 'owner', max_uses => 1000");
      const hers = await invite(t, "olga", ", role => 'viewer'");
      await asOlga(end);
      await expect(accept(t, "nina", kept)).rejects.toEqual(refusal("PE404"));
      await expect(accept(t, "eddy", kept)).rejects.toEqual(refusal("PE404"));
      expect(await accept(t, `vera of ${end.slice(0, 3)}`, hers)).toBe("team");
    }
    await asOlga("set_space_member('team', 'eddy', 'owner')");
    const left = await invite(t, "eddy", ", role => 'owner'");
    await t.asUser("eddy", (tx) => tx.query("select perch.remove_space_member('team', 'eddy')"));
    await expect(accept(t, "eddy", left)).rejects.toEqual(refusal("PE404"));
    expect(await membersOf(t)).toEqual(["olga owner", "vera of rem viewer", "vera of set viewer"]);
  });

  it("is for this space and this secret only, and nothing of it can be read from the tables", async () => {
    const t = await makeTeam(open);
    const token = await invite(t, "olga");
    await t.asUser("otto", (tx) => tx.query("select perch.create_space(space_id => 'elsewhere')"));
    await expect(accept(t, "otto", token.replace(/[.]team$/, ".elsewhere"))).rejects.toEqual(refusal("PE404"));
    const last = token[63] === "0" ? "1" : "0";
    await expect(accept(t, "otto", token.slice(0, 63) + last + token.slice(64))).rejects.toEqual(refusal("PE404"));
    const [kept] = await t.db.query<{ id: string; all: string }>(
      "select invitation_id as id, to_jsonb(i)::text as all from perch.space_invitations i",
    );
    expect(kept?.all).not.toContain(token.slice(0, 64));
    // What an owner reads there is no secret to accept.
    await expect(accept(t, "otto", `${kept?.id}.team`)).rejects.toEqual(refusal("PE404"));
    for (const wrong of ["", "x", token.slice(0, 64), null]) {
      await expect(accept(t, "otto", wrong as string)).rejects.toEqual(refusal("PE422"));
    }
    await expect(invite(t, "otto")).rejects.toEqual(refusal("PE403"));
  });

  it("lets nobody in by the setting that names the one being accepted", async () => {
    const t = await makeTeam(open);
    const token = await invite(t, "olga");
    await expect(
      t.asUser("otto", async (tx) => {
        const id = createHash("sha256").update(token.slice(0, 64)).digest("hex");
        await tx.query("select set_config('perch.invitation_id', $1, true)", [id]);
        await tx.query("insert into perch.space_members (space_id, user_id, role) values ('team', 'otto', 'editor')");
      }),
    ).rejects.toEqual(refusal("42501"));
  });
});

describeEachPostgres("an invitation with one use", (open) => {
  it("makes one member of two who accept it at once", async () => {
    const t = await makeTeam(open);
    const token = await invite(t, "olga");
    const first = await t.connect();
    let commit = () => {};
    let accepted = false;
    const slow = first.transaction(async (tx) => {
      await tx.query("select perch.set_context(user_id => 'eddy')");
      await tx.query("select perch.accept_invitation(invitation => $1)", [token]);
      accepted = true;
      await new Promise<void>((resolve) => {
        commit = resolve;
      });
    });
    await until(() => accepted);
    const second = accept(t, "nina", token).catch((error: { code?: string }) => error.code);
    await until(async () => {
      const [row] = await t.db.query<{ n: number }>(
        "select count(*)::int as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
      );
      return (row?.n ?? 0) > 0;
    });
    commit();
    await slow;
    expect(await second).toBe("PE404");
    expect(await membersOf(t)).toEqual(["eddy editor", "olga owner"]);
  });
});
