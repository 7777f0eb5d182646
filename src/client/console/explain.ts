/** What `perch.console_access` says of a user and a space, or a record in it. */
export interface Access {
  readonly personal: boolean;
  readonly others_personal: boolean;
  readonly created: boolean;
  readonly seq: number | null;
  readonly members: boolean;
  readonly role: string | null;
  readonly reads: boolean;
  readonly writes: boolean;
  readonly kind: string | null;
  readonly rules: {
    readonly row_filter: string | null;
    readonly columns: readonly string[] | null;
    readonly column_roles: Readonly<Record<string, unknown>>;
  } | null;
  readonly record: { readonly deleted: boolean; readonly seq: number; readonly user_id: string } | null;
  readonly waiting: number;
}

export interface Reason {
  /** Whether it speaks for seeing it, against, or only adds to it. */
  readonly says: "yes" | "no" | "note";
  readonly text: string;
}

/** Why a user sees a space, or a record in it, or does not: in sentences, the one that decides first. */
export function explain(user: string, space: string, record: string | undefined, access: Access): Reason[] {
  return [...ofSpace(user, space, access), ...(record === undefined ? [] : ofRecord(record, access))];
}

function ofSpace(user: string, space: string, access: Access): Reason[] {
  if (access.personal) return [{ says: "yes", text: `It is the personal space of ${user}, who reads and writes it.` }];
  if (access.others_personal) {
    return [
      {
        says: "no",
        text: `It is the personal space of ${space.slice(1)}: nobody else sees it, unless a token lists it.`,
      },
    ];
  }
  if (access.role !== null) {
    const may = access.writes ? "reads and writes" : "reads, and does not write";
    const note: Reason = {
      says: "note",
      text: "That counts for tokens without lists of spaces; one with space_ids sees what it lists, and nothing else.",
    };
    return [{ says: "yes", text: `${user} is ${access.role} of this space (perch.space_members), so ${may}.` }, note];
  }
  const reasons: Reason[] = [
    {
      says: "no",
      text: access.members
        ? `${user} is no member of this space (perch.space_members has others).`
        : "The space has no members here: it is managed by tokens, or was never shared.",
    },
    { says: "note", text: `A token of ${user} that lists it in space_ids would read it all the same.` },
  ];
  if (!access.created && access.seq === null) {
    reasons.push({
      says: "note",
      text: "Nothing was ever written to a space of this name: see whether it is spelled so.",
    });
  }
  return reasons;
}

function ofRecord(record: string, { kind, rules, record: found, waiting }: Access): Reason[] {
  const reasons: Reason[] = [];
  if (kind === "encrypted")
    reasons.push({ says: "note", text: "The table is encrypted: its readers need the key as well." });
  else if (kind !== "synced") {
    if (found === null) reasons.push({ says: "no", text: `There is no record ${record} in this table of this space.` });
    else if (found.deleted) reasons.push({ says: "no", text: `The record was deleted (seq ${found.seq}).` });
    else reasons.push({ says: "yes", text: `The record is there (seq ${found.seq}): who reads the space reads it.` });
  }
  if (waiting > 0) {
    reasons.push({
      says: "note",
      text: `${waiting} updates of it wait to be merged, or were set aside: they are not seen yet.`,
    });
  }
  if (rules !== null) {
    if (rules.row_filter !== null)
      reasons.push({ says: "note", text: `Only rows are seen for which: ${rules.row_filter}` });
    for (const [column, roles] of Object.entries(rules.column_roles)) {
      reasons.push({ says: "note", text: `The column ${column} is only for: ${String(roles)}.` });
    }
    if (rules.columns !== null)
      reasons.push({ says: "note", text: `Only these columns are synced: ${rules.columns.join(", ")}.` });
  }
  return reasons;
}
