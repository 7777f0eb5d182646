import type { CommittedUpdates, UpdateListener } from "./types.js";

interface Subscriber {
  readonly listener: UpdateListener;
  readonly onEnded: (() => void) | undefined;
}

/** The readers of one document. */
export interface Subscribers {
  readonly size: number;
  /** Out: ends the subscription; safe to call twice. */
  add(listener: UpdateListener, onEnded?: () => void): () => void;
  deliver(committed: CommittedUpdates): void;
  /** Tells everybody that the document is no more, and forgets them. */
  end(): void;
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
    end() {
      const ended = [...subscribers];
      subscribers.clear();
      for (const { onEnded } of ended) if (onEnded) guarded(onEnded);
    },
  };
}
