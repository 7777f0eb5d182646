import type { Database } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import { accessTo } from "../../identity/access.js";
import type { Identity } from "../../identity/identity.js";
import { withContext } from "../../identity/index.js";
import type { ShapeRequest } from "./request.js";

/** Who asks without a token, in development mode. */
export const developer = "developer";
/** The app of tables that were synced by being asked for, as perch.sync_for_development names it, and their space. */
export const developmentApp = "development";
const common = "development";

/** What is done for those who ask for a table in development mode. */
export interface Development {
  /**
   * Syncs a table that the login owns, into one space, and lets the user read that. Out: false when there is no such table, or it is synced
   * and the user reads what there is to read. Errors: PE422 where it cannot be synced.
   */
  prepare(identity: Identity, table: Pick<ShapeRequest, "schema" | "table">): Promise<boolean>;
  /** Begins all shapes of such a table anew. Out: false when it is none that was synced here. */
  forget(table: Pick<ShapeRequest, "schema" | "table">): Promise<boolean>;
  /** Which table a shape is of, as far as this process has answered for it. */
  noted(shape: string): Pick<ShapeRequest, "schema" | "table"> | undefined;
  note(shape: string, table: Pick<ShapeRequest, "schema" | "table">): void;
}

/** Shapes that are remembered, for whoever deletes one by its handle. */
const maxNoted = 10_000;

/** In: as the login, which owns the tables. */
export function createDevelopment(db: Database): Development {
  const shapes = new Map<string, Pick<ShapeRequest, "schema" | "table">>();

  async function sync({ schema, table }: Pick<ShapeRequest, "schema" | "table">, again: boolean): Promise<boolean> {
    return db.transaction(async (tx) => {
      // As for whoever migrates: what is the owner's is done with the login's own rights.
      await tx.script("set local role perch_owner");
      const [row] = await tx.query<{ synced: boolean }>(
        "select perch.sync_for_development(schema_name => $1, table_name => $2, space_id => $3, again => $4) as synced",
        [schema, table, common, again],
      );
      return row?.synced === true;
    });
  }

  /** Out: whether the user could not read it before. */
  async function join(identity: Identity): Promise<boolean> {
    if ((await accessTo(db, identity, common)) !== null) return false;
    const asDeveloper = (sql: string, params: unknown[]) =>
      withContext(db, { userId: developer }, (tx) => tx.query(sql, params));
    await asDeveloper("select perch.create_space(space_id => $1)", [common]);
    if (identity.userId === developer) return true;
    // In a transaction of its own: the one before may have named its spaces before another that asks at the same time made this one.
    const member = "select perch.set_space_member(space_id => $1, user_id => $2, role => 'viewer')";
    await asDeveloper(member, [common, identity.userId]);
    return true;
  }

  return {
    async prepare(identity, table) {
      try {
        // The space comes first: one that a table names already is in use, and nobody becomes its owner.
        return (await join(identity)) || (await sync(table, false));
      } catch (error) {
        if (error instanceof PerchError) throw new PerchError("PE422", error.message, { argument: "table" });
        throw error;
      }
    },
    forget: (table) =>
      sync(table, true).catch((error: unknown) => {
        // Of a table that cannot be synced there are no shapes.
        if (error instanceof PerchError && error.code === "PE422") return false;
        throw error;
      }),
    noted: (shape) => shapes.get(shape),
    note(shape, { schema, table }) {
      shapes.delete(shape);
      shapes.set(shape, { schema, table });
      const [oldest] = shapes.keys();
      if (shapes.size > maxNoted && oldest !== undefined) shapes.delete(oldest);
    },
  };
}
