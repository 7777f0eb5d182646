import { counterOf } from "../demo/author.js";
import { readStored, roomOf } from "../demo/document.js";
import type { Cluster } from "./cluster.js";
import type { Editor } from "./editor.js";

/**
 * Looks into the database, over and over, whether it has what has been acknowledged until then. The comparison at the end would not
 * tell: a client that is still open sends again what the server lost.
 */
export interface Audit {
  readonly losses: readonly string[];
  /** How often it looked. */
  readonly looks: number;
  stop(): Promise<void>;
}

const everyMs = 500;

export function startAudit({ db, places }: Cluster, editors: () => readonly Editor[]): Audit {
  const losses: string[] = [];
  let looks = 0;
  let stopped = false;

  async function look(turn: number): Promise<void> {
    const place = places[turn % places.length];
    if (place === undefined) return;
    // First what was acknowledged, then what is stored.
    const acknowledged = editors().flatMap(({ user, sheets }) =>
      sheets
        .filter(({ roomId }) => roomId === roomOf(place))
        .map(({ peer, acknowledged: count }) => ({ user, peer, count })),
    );
    // The server may be away just now.
    const stored = await readStored(db, place, "owner").catch(() => undefined);
    if (stored === undefined) return;
    for (const { user, peer, count } of acknowledged) {
      const there = counterOf(stored.doc, peer);
      if (there < count)
        losses.push(`${place.recordId}: of ${user} ${count} operations are acknowledged, ${there} stored`);
    }
    stored.doc.free();
    looks += 1;
  }

  const looking = (async () => {
    for (let turn = 0; !stopped; turn++) {
      await look(turn);
      await new Promise((done) => setTimeout(done, everyMs));
    }
  })();
  return {
    losses,
    get looks() {
      return looks;
    },
    async stop() {
      stopped = true;
      await looking;
    },
  };
}
