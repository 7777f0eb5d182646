import { PerchError } from "../errors.js";
import { type AckStatus, ackStatus } from "./protocol.js";

type Updates = readonly Uint8Array<ArrayBuffer>[];

export interface Parking {
  submit(updates: Updates): Promise<AckStatus>;
  /** A fragment arrived: what is waited for may be on its way. */
  progress(): void;
  close(): void;
}

/** How long after a join, and how long without progress, a batch may wait for what it builds on. */
const openMs = 15_000;
const patienceMs = 3_000;
const maxParked = 1_000;

interface Parked {
  readonly updates: Updates;
  resolve(status: AckStatus): void;
}

/**
 * After a reconnect a client goes on sending what is typed while it waits for the answer to its join; what was typed while it
 * was away it sends only after that answer. So the first batches of a room may build on one that comes later. Refusing them
 * would make the client join again, and type into the same gap again. They are parked, until the first batch that is accepted
 * has brought what they build on.
 * In: `append` stores a batch or throws; `statusOf` says what a failure is acknowledged with.
 */
export function createParking(on: {
  append(updates: Updates): Promise<AckStatus>;
  statusOf(error: unknown): AckStatus;
}): Parking {
  const closesAt = Date.now() + openMs;
  let parked: Parked[] = [];
  let settled = false;
  let timer: NodeJS.Timeout | undefined;

  const mayPark = (error: unknown) =>
    !settled && lacksDependencies(error) && parked.length < maxParked && Date.now() < closesAt;

  function release(): Parked[] {
    clearTimeout(timer);
    timer = undefined;
    const released = parked;
    parked = [];
    return released;
  }

  async function attempt(updates: Updates): Promise<AckStatus> {
    try {
      return await on.append(updates);
    } catch (error) {
      return on.statusOf(error);
    }
  }

  function accepted(): void {
    settled = true;
    // Started in their order, without waiting for each other: the document keeps them in order.
    for (const { updates, resolve } of release()) attempt(updates).then(resolve);
  }

  return {
    async submit(updates) {
      try {
        const status = await on.append(updates);
        if (!settled) accepted();
        return status;
      } catch (error) {
        if (!mayPark(error)) return on.statusOf(error);
        timer ??= setTimeout(() => {
          for (const { resolve } of release()) resolve(ackStatus.invalidUpdate);
        }, patienceMs);
        return new Promise((resolve) => parked.push({ updates, resolve }));
      }
    },
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
