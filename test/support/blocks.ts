/** A fenced block of a page of documentation. */
export interface Block {
  language: string;
  text: string;
  /** Of its first line. */
  line: number;
}

/**
 * Every fenced block of a page, in order. Throws for one of a language that its test does not know how to run, and for a fence that is
 * indented or has no language: what is shown is run, and nothing is passed over because of how it is written.
 */
export function readBlocks(page: string, languages: readonly string[]): Block[] {
  const lines = page.split("\n");
  const blocks: Block[] = [];
  let open: Block | undefined;
  for (const [at, line] of lines.entries()) {
    const fence = /^(\s*)(```+|~~~+)(.*)$/.exec(line);
    if (open !== undefined) {
      if (fence?.[1] === "" && fence[3] === "") open = undefined;
      else open.text += `${line}\n`;
    } else if (fence) {
      const [, indent, , language = ""] = fence;
      if (indent !== "" || !languages.includes(language)) {
        throw new Error(
          `line ${at + 1}: a block of ${language || "no language"}, which the test of this page does not run`,
        );
      }
      open = { language, text: "", line: at + 1 };
      blocks.push(open);
    }
  }
  if (open) throw new Error(`line ${open.line}: a block without an end`);
  return blocks;
}
