import type { OnlineDetector } from "@tanstack/offline-transactions";
import type { Locks } from "./queues.js";

/** What a browser's page has and Node has not. */
interface Page {
  readonly indexedDB?: unknown;
  readonly navigator?: { readonly locks?: Locks };
  readonly document?: EventTarget;
  reportError?(error: unknown): void;
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
}

export const page = globalThis as unknown as Page;

/** Calls when the network may be back, or the user is. Out: ends that. */
function onReturn(listener: () => void): () => void {
  page.addEventListener?.("online", listener);
  page.document?.addEventListener("visibilitychange", listener);
  return () => {
    page.removeEventListener?.("online", listener);
    page.document?.removeEventListener("visibilitychange", listener);
  };
}

/** Tells executors when the network may be back; after the end there is none. */
export function onlineDetector(ended: AbortSignal) {
  const listeners = new Set<() => void>();
  const notify = () => {
    for (const each of listeners) each();
  };
  ended.addEventListener("abort", onReturn(notify));
  const forOne = (): OnlineDetector => ({
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    notifyOnline: notify,
    // What the browser says of the network is a hint, and often wrong: trying costs one request.
    isOnline: () => !ended.aborted,
    dispose: () => undefined,
  });
  return { notify, forOne };
}
