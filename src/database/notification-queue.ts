/** So full, somebody's next notifications may not fit. */
const fullFrom = 0.9;
/** At most so often whoever listens does so anew: everybody who is told by a connection reads what they follow when it is made. */
const anewEveryMs = 5_000;

export interface QueueRelief {
  /** Has room made in the server's queue of notifications, as far as that is ours to do. Those who ask at once share it. */
  relieve(): Promise<void>;
}

/**
 * In: how full the queue is (asking makes Postgres give back what everybody has read; by itself it does not, where all that notifies is
 * refused), and what makes all who listen here do so anew. Out: what to do when a notification did not fit.
 *
 * A session that listens is woken by commits. A transaction whose notifications did not fit has left some of them in the queue, and woke nobody;
 * where that is nearly all of the queue, no commit has room any more, so nobody is ever woken to read it. Who begins to listen reads, or
 * passes over, all that is there.
 */
export function createQueueRelief(
  usage: () => Promise<number>,
  listenAnew: () => Promise<void>,
  now: () => number = () => performance.now(),
): QueueRelief {
  let running: Promise<void> | undefined;
  let renewedAt = Number.NEGATIVE_INFINITY;

  async function run(): Promise<void> {
    if ((await usage()) < fullFrom || now() - renewedAt < anewEveryMs) return;
    renewedAt = now();
    await listenAnew();
    await usage();
  }

  return {
    relieve() {
      running ??= run().finally(() => {
        running = undefined;
      });
      return running;
    },
  };
}
