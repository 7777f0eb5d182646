import { PerchError } from "../../errors.js";
import type { Opened } from "./reading.js";

/** What the reader has is to be fetched again: the shape is this one by now. */
export class Outdated extends Error {
  constructor(readonly shape: string) {
    super("the shape is another by now");
    this.name = "Outdated";
  }
}

/** A position says something of a shape only in the epoch that the shape was opened in. Errors: Outdated. */
export function positionIn(
  { epoch, shape }: Opened,
  there: { readonly position: bigint; readonly epoch: string },
): bigint {
  if (there.epoch !== epoch) throw new Outdated(shape);
  return there.position;
}

/** Errors: as `work`; Outdated for PE410. */
export async function outdatedBy410<T>(shape: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof PerchError && error.code === "PE410") throw new Outdated(shape);
    throw error;
  }
}
