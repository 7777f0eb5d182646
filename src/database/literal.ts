import { requiredText } from "./text.js";

/**
 * A text as it stands in SQL, for statements that cannot have parameters: safe whatever it consists of. Errors: PE422 for one that cannot
 * be stored to the letter; U+0000 would end the statement. `argument` names it.
 */
export function textLiteral(text: string, argument = "a text"): string {
  requiredText(text, argument);
  const quoted = `'${text.replaceAll("'", "''")}'`;
  // What a backslash means in plain quotes is a setting of the server.
  return text.includes("\\") ? ` E${quoted.replaceAll("\\", "\\\\")}` : quoted;
}

/** The same for a list of texts. */
export function textsLiteral(texts: readonly string[], argument = "a list of texts"): string {
  const elements = texts.map((text) => `"${requiredText(text, argument).replace(/[\\"]/g, "\\$&")}"`);
  return `${textLiteral(`{${elements.join(",")}}`)}::text[]`;
}
