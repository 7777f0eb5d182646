/** What the server sent is larger than this process takes in one piece: ask for less. Whether the statement took effect is not known. */
export class MessageTooLarge extends Error {
  readonly code = "ERR_MESSAGE_TOO_LARGE";
  readonly bytes: number;
  readonly limit: number;

  constructor(bytes: number, limit: number) {
    super(`the database sent a message of ${bytes} bytes, which is over the limit of ${limit}`);
    this.name = "MessageTooLarge";
    this.bytes = bytes;
    this.limit = limit;
  }
}
