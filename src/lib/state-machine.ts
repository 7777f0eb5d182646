/** What an event makes of a state, and what is to be done about it. */
export interface Step<State, Action> {
  readonly state: State;
  readonly actions: readonly Action[];
}

export interface Machine<State, Event> {
  readonly state: State;
  /** Says what has happened. */
  tell(event: Event): void;
}

/**
 * Keeps the one state of something, for modules that have none of their own. In: `step`, which is pure; `perform`, which does what it says. Where
 * that makes another event, `perform` returns it rather than telling it: it is taken before `tell` returns, after the actions before it.
 */
export function createMachine<State, Event, Action>(
  first: State,
  step: (state: State, event: Event) => Step<State, Action>,
  perform: (action: Action) => Event | undefined,
): Machine<State, Event> {
  return new KeptState(first, step, perform);
}

/** A class, since tens of thousands are kept: its method is one object for all of them. */
class KeptState<State, Event, Action> implements Machine<State, Event> {
  constructor(
    public state: State,
    private readonly step: (state: State, event: Event) => Step<State, Action>,
    private readonly perform: (action: Action) => Event | undefined,
  ) {}

  tell(event: Event): void {
    for (let next: Event | undefined = event; next !== undefined; ) {
      const { state, actions } = this.step(this.state, next);
      this.state = state;
      next = undefined;
      for (const action of actions) next = this.perform(action) ?? next;
    }
  }
}
