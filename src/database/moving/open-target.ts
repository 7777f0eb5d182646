import { epochOf } from "./begin.js";
import { type Declarations, declarationsOf, declareThere, enactThere } from "./declarations.js";
import { without } from "./ends.js";
import { movedSequences, movedTables } from "./tables.js";
import type { Ends } from "./transactions.js";

/** What is moved besides rows, all at once when the rest is there. */
export interface BesideRows {
  readonly declarations: Declarations;
  readonly sequences: readonly { readonly name: string; readonly last: string; readonly called: boolean }[];
  readonly epoch: string | undefined;
}

export const besideRows = async ({ from }: Ends): Promise<BesideRows> => ({
  declarations: await declarationsOf(from),
  sequences: await movedSequences(from),
  epoch: await epochOf(from),
});

/** In one transaction the target is as if it had always been there. */
export async function openTarget(ends: Ends, content: BesideRows): Promise<void> {
  const tables = await ends.look(movedTables);
  await ends.declare(async (tx) => {
    await declareThere(content.declarations, tx, { whole: true });
    await enactThere(tx);
    for (const { name, last, called } of content.sequences)
      await tx.query("select setval($1::text::regclass, $2::bigint, $3)", [name, last, called]);
    // The epoch goes on, on this server: whoever has read the log reads on.
    await tx.query("update perch.log_epoch set epoch = $1::uuid, server = perch.server_identity()", [content.epoch]);
    const statements = [
      ...tables.flatMap((table) => without(table, ["refuse"])),
      ...tables
        .filter(({ is_app }) => !is_app)
        .map(({ relation }) => `alter table ${relation} force row level security`),
      "drop schema perch_move cascade",
    ];
    await tx.script(statements.join(";\n"));
  });
}
