/** A node of a tree whose nodes come the newest first. */
export interface TreeNode {
  readonly id: string;
  readonly parent_id: string | null;
}

export interface Placed {
  /** The column of a node, from 0. */
  readonly lane: number;
  /** The row of its parent; undefined where it has none, or not on this page. */
  readonly parentRow: number | undefined;
}

/**
 * Lays a tree out in columns, as logs of versions are drawn: each branch keeps a lane from its tip down to where it left the other, and a
 * lane that has ended is used again. In: children before their parents. Out: one for each, in their order.
 */
export function lanesOf(nodes: readonly TreeNode[]): Placed[] {
  const rows = new Map(nodes.map(({ id }, row) => [id, row]));
  /** Which node each lane leads down to. */
  const leads: (string | undefined)[] = [];
  return nodes.map(({ id, parent_id }) => {
    let lane = leads.indexOf(id);
    if (lane < 0) lane = leads.includes(undefined) ? leads.indexOf(undefined) : leads.length;
    for (const [nth, waiting] of leads.entries()) if (waiting === id) leads[nth] = undefined;
    const parentRow = parent_id === null ? undefined : rows.get(parent_id);
    leads[lane] = parentRow === undefined ? undefined : (parent_id ?? undefined);
    return { lane, parentRow };
  });
}
