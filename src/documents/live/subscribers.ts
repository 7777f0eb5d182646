import type { CommittedUpdates, Ending, UpdateListener } from "./types.js";

interface Subscriber {
  readonly listener: UpdateListener;
  readonly onEnded: ((why: Ending) => void) | undefined;
}

/** The readers of one document. */
export interface Subscribers {
  readonly size: number;
  /** Out: ends the subscription; safe to call twice. */
  add(listener: UpdateListener, onEnded?: (why: Ending) => void): () => void;
  deliver(committed: CommittedUpdates): void;
  /** Tells everybody that the document is not what they have of it, and forgets them. */
  end(why: Ending): void;
}

export function createSubscribers(onError: (error: unknown) => void): Subscribers {
  const subscribers = new Set<Subscriber>();

  function guarded(call: () => void): void {
    try {
      call();
    } catch (error) {
      onError(error);
    }
  }

  return {
    get size() {
      return subscribers.size;
    },
    add(listener, onEnded) {
      const subscriber = { listener, onEnded };
      subscribers.add(subscriber);
      return () => {
        subscribers.delete(subscriber);
      };
    },
    deliver(committed) {
      for (const { listener } of subscribers) guarded(() => listener(committed));
    },
    end(why) {
      const ended = [...subscribers];
      subscribers.clear();
      for (const { onEnded } of ended) if (onEnded) guarded(() => onEnded(why));
    },
  };
}
