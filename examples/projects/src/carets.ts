import { type Extension, StateEffect, StateField } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, ViewPlugin, WidgetType } from "@codemirror/view";
import { Cursor, type EphemeralStore, type LoroDoc, type LoroText } from "loro-crdt";

/** Where each one is, by user and Loro peer: a place between letters, which moves with them. */
export type Carets = Record<string, { name: string; at: Uint8Array }>;

const show = StateEffect.define<DecorationSet>();

class Caret extends WidgetType {
  constructor(readonly name: string) {
    super();
  }
  override eq(other: Caret) {
    return other.name === this.name;
  }
  toDOM() {
    const caret = document.createElement("span");
    caret.className = "caret";
    caret.dataset.name = this.name;
    return caret;
  }
}

/** Tells the others where one is, and shows where they are. */
export function carets(doc: LoroDoc, body: LoroText, presence: EphemeralStore<Carets>, user: string): Extension {
  const mine = `${user}/${doc.peerIdStr}`;
  const shown = StateField.define<DecorationSet>({
    create: () => Decoration.none,
    update: (set, { changes, effects }) =>
      effects.reduce((last, effect) => (effect.is(show) ? effect.value : last), set.map(changes)),
    provide: (field) => EditorView.decorations.from(field),
  });

  function others(): DecorationSet {
    const found = Object.entries(presence.getAllStates()).flatMap(([key, state]) => {
      const place = key === mine || state === undefined ? undefined : doc.getCursorPos(Cursor.decode(state.at));
      return place === undefined
        ? []
        : [Decoration.widget({ widget: new Caret(state?.name ?? ""), side: 1 }).range(place.offset)];
    });
    return Decoration.set(found, true);
  }

  return [
    shown,
    EditorView.updateListener.of(({ selectionSet, focusChanged, state }) => {
      const at = body.getCursor(state.selection.main.head);
      if ((selectionSet || focusChanged) && at) presence.set(mine, { name: user, at: at.encode() });
    }),
    ViewPlugin.define((view) => ({
      destroy: presence.subscribe(({ by }) => by !== "local" && view.dispatch({ effects: show.of(others()) })),
    })),
  ];
}
