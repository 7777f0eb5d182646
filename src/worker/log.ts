/** Where a worker reports what nobody waits for; a pino logger is one. */
export interface WorkerLog {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
}
