import { PerchError } from "../errors.js";

/**
 * A text as it stands in SQL, for statements that cannot have parameters: safe whatever it consists of. Errors: PE422 for U+0000, which
 * no text of Postgres can hold and which would end the statement.
 */
export function textLiteral(text: string): string {
  if (text.includes("\0")) throw new PerchError("PE422", "a text must not hold U+0000");
  const quoted = `'${text.replaceAll("'", "''")}'`;
  // What a backslash means in plain quotes is a setting of the server.
  return text.includes("\\") ? ` E${quoted.replaceAll("\\", "\\\\")}` : quoted;
}

/** The same for a list of texts. */
export function textsLiteral(texts: readonly string[]): string {
  const elements = texts.map((text) => `"${text.replace(/[\\"]/g, "\\$&")}"`);
  return `${textLiteral(`{${elements.join(",")}}`)}::text[]`;
}
