/**
 * The thread that held the call's state is gone, through no fault of this call: another call trapped or hung it, it was replaced
 * because it had grown too large, or it died by itself. Nothing the call was to do can be relied on; whoever made it builds the
 * state up again (loads the document) and calls again.
 */
export class EngineLost extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "EngineLost";
  }
}

/** More calls wait for one thread than `maxQueue` allows, or the engine is closed. Nothing was begun. */
export class EngineBusy extends Error {
  constructor(message: string) {
    super(message);
    this.name = "EngineBusy";
  }
}
