/** The address of a document: the record whose content it is. */
export interface DocumentKey {
  readonly spaceId: string;
  readonly appId: string;
  readonly tableName: string;
  readonly recordId: string;
}

/** The address of a document. `spaceId` left out or null: the personal space of the user in question. */
export interface DocumentAddress {
  readonly appId: string;
  readonly tableName: string;
  readonly recordId: string;
  readonly spaceId?: string | null | undefined;
}

/**
 * One string for a key, the same for equal keys and different for different ones: what maps, engine threads and logs use.
 * In: a key with any characters in its parts. Out: the parts joined by "/", with "/" and "%" inside a part escaped.
 */
export function documentId(key: DocumentKey): string {
  return `${escaped(key.spaceId)}/${escaped(key.appId)}/${escaped(key.tableName)}/${escaped(key.recordId)}`;
}

function escaped(part: string): string {
  return part.includes("/") || part.includes("%") ? part.replaceAll("%", "%25").replaceAll("/", "%2F") : part;
}
