import { createHash } from "node:crypto";
import type { Change } from "../schemas.js";
import type { ChangeLine, RecordLine, UpdateLine } from "./format.js";

/** A change to push, and as which app and device: the device decides between writes of the same instant. */
export interface Restored {
  appId: string;
  clientId: string | null;
  change: Change;
}

/** The same id for the same thing restored into the same place, so that a repeat is known as one. */
export function restoreId(...parts: readonly (string | number)[]): string {
  return `restore-${createHash("sha256").update(JSON.stringify(parts)).digest("base64url").slice(0, 32)}`;
}

/** A stamp is a time and, where another device wrote than the change says, a space and that device (nothing for none). */
function readStamp(stamp: string): { at: string; clientId: string | null | undefined } {
  const end = stamp.indexOf(" ");
  return end < 0
    ? { at: stamp, clientId: undefined }
    : { at: stamp.slice(0, end), clientId: stamp.slice(end + 1) || null };
}

/** Fields by the device that wrote them. */
function byDevice(data: Record<string, unknown>, stampOf: (field: string) => { at?: string; clientId: string | null }) {
  const devices = new Map<string | null, { data: Record<string, unknown>; times: Record<string, string> }>();
  for (const [field, value] of Object.entries(data)) {
    const { at, clientId } = stampOf(field);
    const device = devices.get(clientId) ?? { data: {}, times: {} };
    devices.set(clientId, device);
    device.data[field] = value;
    if (at !== undefined) device.times[field] = at;
  }
  return devices;
}

/** What to push so that a change of the log is there again, with its times and devices. */
export function restoreChange(line: ChangeLine, epoch: string, spaceId: string): Restored[] {
  const { app_id: appId, table, id, op, at, schema_version, actor, origin } = line;
  const own = line.client_id;
  const common = { table, id, space_id: spaceId, at, schema_version, actor, origin };
  const op_id = restoreId(epoch, line.space_id, line.seq, spaceId);
  if (op === "delete" || line.data === null) return [{ appId, clientId: own, change: { ...common, op, op_id } }];

  const devices = byDevice(line.data, (field) => {
    const stamp = line.field_meta[field];
    if (stamp === undefined) return { clientId: own };
    const { at: time, clientId } = readStamp(stamp);
    return { at: time, clientId: clientId === undefined ? own : clientId };
  });
  const { data = {}, times = {} } = devices.get(own) ?? {};
  devices.delete(own);
  const restored: Restored[] = [{ appId, clientId: own, change: { ...common, op, data, field_meta: times, op_id } }];
  for (const [clientId, { data, times }] of devices) {
    const change: Change = {
      ...common,
      op: "update",
      data,
      field_meta: times,
      op_id: restoreId(op_id, clientId ?? ""),
    };
    restored.push({ appId, clientId, change });
  }
  return restored;
}

/** What to push so that a record is there again as it was folded. */
export function restoreRecord(line: RecordLine, epoch: string, spaceId: string): Restored[] {
  const { app_id: appId, table, id, schema_version } = line;
  const common = { table, id, space_id: spaceId, schema_version };
  const opId = (what: string) => restoreId(epoch, "record", line.space_id, appId, table, id, spaceId, what);
  const restored: Restored[] = [];
  if (line.inserted_at !== null) {
    const change: Change = {
      ...common,
      op: "insert",
      at: line.inserted_at,
      op_id: opId(`inserted ${line.inserted_at}`),
    };
    restored.push({ appId, clientId: null, change });
  }
  const devices = byDevice(line.data, (field) => {
    const stamp = line.field_meta[field];
    const { at, clientId } =
      stamp === undefined ? { at: line.written_at, clientId: line.written_by } : readStamp(stamp);
    return { ...(at === null ? {} : { at }), clientId: clientId ?? null };
  });
  for (const [clientId, { data, times }] of devices) {
    const op_id = opId(JSON.stringify([clientId, data, times]));
    restored.push({ appId, clientId, change: { ...common, op: "update", data, field_meta: times, op_id } });
  }
  if (line.deleted_at !== null) {
    const change: Change = { ...common, op: "delete", at: line.deleted_at, op_id: opId(`deleted ${line.deleted_at}`) };
    restored.push({ appId, clientId: null, change });
  }
  return restored;
}

/** The op_id of an update restored into a space. */
export const updateId = (line: UpdateLine, spaceId: string): string =>
  restoreId("update", line.space_id, line.app_id, line.table, line.id, spaceId, line.payload);
