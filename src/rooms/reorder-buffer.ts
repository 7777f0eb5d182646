import { PerchError } from "../errors.js";
import { type AckStatus, ackStatus } from "../protocol/protocol.js";

type Updates = readonly Uint8Array<ArrayBuffer>[];

export interface ReorderBuffer {
  submit(updates: Updates): Promise<AckStatus>;
  /** A fragment arrived: what is waited for may be on its way. */
  progress(): void;
  close(): void;
}

/** How long after a join, and how long without progress, a batch may wait for what it builds on. */
const openMs = 30_000;
const patienceMs = 10_000;
const maxKept = 1_000;
/** Attempts of one batch: each may cost a look into the database. */
const maxTries = 4;

interface Kept {
  readonly updates: Updates;
  readonly tries: number;
  resolve(status: AckStatus): void;
}

/**
 * After a reconnect a client goes on sending what is typed while it waits for the answer to its join; what was typed while it
 * was away it sends only after that answer. So the first batches of a room may build on one that comes later. Refusing them
 * would make the client join again, and type into the same gap again. They are kept, until a batch that is accepted has
 * brought what they build on.
 *
 * Refusals and acceptances do not come in the order of the batches: to refuse one, the database may be asked for what it builds on,
 * and the batch that brings it may be committed meanwhile. So a refusal counts only when nothing was accepted since the attempt
 * began; and while an attempt is under way, however slow the database, nobody runs out of patience.
 * In: `append` stores a batch or throws; `statusOf` says what a failure is acknowledged with.
 */
export function createReorderBuffer(on: {
  append(updates: Updates): Promise<AckStatus>;
  statusOf(error: unknown): AckStatus;
}): ReorderBuffer {
  const closesAt = performance.now() + openMs;
  let kept: Kept[] = [];
  /** An acceptance left nothing kept: the client is past its gap. */
  let settled = false;
  let attempts = 0;
  let acceptances = 0;
  let timer: NodeJS.Timeout | undefined;

  function release(): Kept[] {
    clearTimeout(timer);
    timer = undefined;
    const released = kept;
    kept = [];
    return released;
  }

  function expire(): void {
    if (attempts > 0) {
      timer?.refresh();
      return;
    }
    for (const { resolve } of release()) resolve(ackStatus.invalidUpdate);
  }

  async function attempt(updates: Updates, tries = 1): Promise<AckStatus> {
    const before = acceptances;
    attempts += 1;
    try {
      const status = await on.append(updates);
      acceptances += 1;
      accepted();
      return status;
    } catch (error) {
      if (!lacksDependencies(error) || tries >= maxTries) return on.statusOf(error);
      if (acceptances > before) return attempt(updates, tries + 1);
      if (settled || kept.length >= maxKept || performance.now() > closesAt) return on.statusOf(error);
      timer ??= setTimeout(expire, patienceMs);
      return new Promise((resolve) => kept.push({ updates, tries: tries + 1, resolve }));
    } finally {
      attempts -= 1;
    }
  }

  function accepted(): void {
    settled ||= kept.length === 0;
    // Started in their order, without waiting for each other: the document keeps them in order.
    for (const { updates, tries, resolve } of release()) attempt(updates, tries).then(resolve);
  }

  return {
    submit: (updates) => attempt(updates),
    progress: () => timer?.refresh(),
    close() {
      settled = true;
      for (const { resolve } of release()) resolve(ackStatus.invalidUpdate);
    },
  };
}

/** Whether a batch was refused only because what it builds on is not there. */
function lacksDependencies(error: unknown): boolean {
  if (!(error instanceof PerchError) || error.code !== "PE422") return false;
  const { missing } = (error.detail ?? {}) as { missing?: unknown };
  return missing !== undefined;
}
