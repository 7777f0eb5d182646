import type { Sources } from "./sources.js";

const exported = /^export (?:declare )?(?:async )?(?:function\*?|const|class|interface|type|enum) (\w+)/gm;

/** In: the files of src/, and all that may use them. Out: a line for each export of the first whose name stands nowhere but where it is made. */
export function deadExports(files: Sources, users: Sources): string[] {
  const uses = new Map<string, number>();
  for (const text of users.values()) {
    for (const [word] of text.matchAll(/\w+/g)) uses.set(word, (uses.get(word) ?? 0) + 1);
  }
  return [...files].flatMap(([path, text]) =>
    [...text.matchAll(exported)].flatMap(([, name = ""]) =>
      (uses.get(name) ?? 0) > 1 ? [] : [`${path} exports ${name}, which nobody uses`],
    ),
  );
}
