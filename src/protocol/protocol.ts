/**
 * The constants of the Loro sync protocol v1, by the names its specification uses.
 * Close codes: 1008, 1011 and 4400–4499 make the official client give up for good, so none of them is used for a passing fault.
 */

/** A frame, both ways, header included. Anything larger travels as fragments. */
export const maxFrameBytes = 262_144;

export const maxRoomIdBytes = 128;

export const batchIdBytes = 8;

/** Updates that one DocUpdate may bring: a client sends one, or what it wrote while it was offline. As empty ones a frame could hold a quarter of a million. */
export const maxUpdatesOfFrame = 4_000;

export const messageType = {
  joinRequest: 0x00,
  joinResponseOk: 0x01,
  joinError: 0x02,
  docUpdate: 0x03,
  fragmentHeader: 0x04,
  fragment: 0x05,
  roomError: 0x06,
  leave: 0x07,
  ack: 0x08,
} as const;

export const joinErrorCode = { unknown: 0x00, versionUnknown: 0x01, authFailed: 0x02, appError: 0x7f } as const;
export type JoinErrorCode = (typeof joinErrorCode)[keyof typeof joinErrorCode];

export const roomErrorCode = { rejoinSuggested: 0x01, evicted: 0x02, unknown: 0x7f } as const;
export type RoomErrorCode = (typeof roomErrorCode)[keyof typeof roomErrorCode];

export const ackStatus = {
  ok: 0x00,
  unknown: 0x01,
  permissionDenied: 0x03,
  invalidUpdate: 0x04,
  payloadTooLarge: 0x05,
  rateLimited: 0x06,
  fragmentTimeout: 0x07,
} as const;
export type AckStatus = (typeof ackStatus)[keyof typeof ackStatus];

export type Permission = "read" | "write";

/** The room types perch serves; every other one gets a JoinError. */
export const roomType = { document: "%LOR", encrypted: "%ELO", presence: "%EPH", persistedPresence: "%EPS" } as const;

export const closeCode = {
  goingAway: 1001,
  protocolError: 1002,
  serviceRestart: 1012,
  tryAgainLater: 1013,
} as const;
