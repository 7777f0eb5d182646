import { Annotation, EditorState, type Extension, Transaction } from "@codemirror/state";
import { EditorView, ViewPlugin } from "@codemirror/view";
import type { LoroDoc, LoroText } from "loro-crdt";

/** Came from the document, and need not go there. */
const fromDocument = Annotation.define<true>();

/** What is typed goes into the text of the document, letter by letter, and what others type into the editor. */
export function writtenTogether(doc: LoroDoc, body: LoroText): Extension {
  const typed = EditorView.updateListener.of(({ transactions }) => {
    for (const transaction of transactions) {
      if (transaction.annotation(fromDocument)) continue;
      let shift = 0;
      transaction.changes.iterChanges((from, to, _from, _to, inserted) => {
        body.delete(from + shift, to - from);
        body.insert(from + shift, inserted.toString());
        shift += inserted.length - (to - from);
      });
    }
    doc.commit();
  });
  const shown = ViewPlugin.define((view) => ({
    destroy: doc.subscribe(({ by, events }) => {
      if (by === "local") return;
      for (const { target, diff } of events) {
        if (target !== body.id || diff.type !== "text") continue;
        let at = 0;
        const changes = diff.diff.flatMap(({ retain = 0, delete: deleted = 0, insert = "" }) => {
          const from = at + retain;
          at = from + deleted;
          return deleted > 0 || insert !== "" ? [{ from, to: at, insert }] : [];
        });
        // Undo is for what one has typed oneself.
        view.dispatch({ changes, annotations: [fromDocument.of(true), Transaction.addToHistory.of(false)] });
      }
    }),
  }));
  // With one separator a place in the text is the same number in both.
  return [EditorState.lineSeparator.of("\n"), typed, shown];
}
