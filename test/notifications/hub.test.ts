import { expect, it } from "vitest";
import type { ListenHandlers, Subscription } from "../../src/database/types.js";
import { createNotificationHub, shareHub } from "../../src/notifications/hub.js";
import type { Notification } from "../../src/notifications/parse.js";
import { eventually } from "../documents/live/support.js";
import { describeEachEngine } from "../support/databases.js";

/** Where to listen, and what a test makes of it. */
function source(failures = 0) {
  const listened: ListenHandlers[] = [];
  let left = failures;
  let open = 0;
  return {
    listened,
    open: () => open,
    async listen(_channels: readonly string[], on: ListenHandlers): Promise<Subscription> {
      if (left > 0) {
        left -= 1;
        throw new Error("away");
      }
      listened.push(on);
      open += 1;
      on.ready();
      return {
        async close() {
          open -= 1;
        },
      };
    },
  };
}

const log = () => {
  const messages: string[] = [];
  return { messages, warn: (_details: object, message: string) => void messages.push(message) };
};

it("tells everybody of what one connection hears, and goes on when one of them throws", async () => {
  const from = source();
  const said = log();
  const hub = createNotificationHub(from, said);
  const heard: Notification[] = [];
  hub.add({
    notified() {
      throw new Error("a listener's own fault");
    },
  });
  const stop = hub.add({ notified: (one) => heard.push(one) });
  await Promise.all([hub.start(), hub.start()]);
  expect(from.listened).toHaveLength(1);
  from.listened[0]?.notify("perch_changes", '{"v":1,"space_id":"team","seq":3}');
  from.listened[0]?.notify("perch_changes", "nonsense");
  expect(heard).toEqual([{ channel: "perch_changes", spaceId: "team", seq: 3 }]);
  expect(said.messages).toEqual([expect.stringContaining("a part of perch failed over a notification")]);
  stop();
  from.listened[0]?.notify("perch_changes", '{"v":1,"space_id":"team","seq":4}');
  expect(heard).toHaveLength(1);
  await hub.close();
  expect(from.open()).toBe(0);
});

it("tells nobody that it listens again before each has looked where the new connection leads", async () => {
  const from = source();
  const hub = createNotificationHub(from, log());
  const events: string[] = [];
  let looked: () => void = () => undefined;
  hub.add({
    reconnected: () => new Promise<void>((resolve) => (looked = resolve)).then(() => void events.push("looked")),
    ready: () => void events.push("ready"),
  });
  hub.add({ reconnected: () => Promise.reject(new Error("that is its own affair")) });
  hub.add({ ready: () => void events.push("ready") });
  await hub.start();
  expect(events).toEqual(["ready", "ready"]);
  from.listened[0]?.lost?.(new Error("gone"));
  expect(hub.listening()).toBe(false);
  from.listened[0]?.ready();
  expect(hub.listening()).toBe(true);
  expect(events).toHaveLength(2);
  looked();
  await eventually(() => events.length === 5);
  expect(events.slice(2)).toEqual(["looked", "ready", "ready"]);
  await hub.close();
});

it("throws when it cannot begin, and may be started again", async () => {
  const hub = createNotificationHub(source(1), log());
  await expect(hub.start()).rejects.toThrow("away");
  expect(hub.listening()).toBe(false);
  await hub.start();
  expect(hub.listening()).toBe(true);
  await hub.close();
});

it("is tried again for as long as it is wanted, where the database is away at first", async () => {
  const from = source(1);
  const said = log();
  const hub = createNotificationHub(from, said);
  hub.keepStarting();
  await eventually(() => hub.listening());
  expect(said.messages).toEqual(["listening for notifications failed; it is tried again"]);
  await hub.close();
});

describeEachEngine("those who follow one database in a program", (open) => {
  it("share a connection, which is closed with the last of them", async () => {
    const t = await open();
    let opened = 0;
    let closed = 0;
    const db = {
      async listen(channels: readonly string[], on: ListenHandlers): Promise<Subscription> {
        const subscription = await t.db.listen(channels, on);
        opened += 1;
        return {
          close: async () => {
            closed += 1;
            await subscription.close();
          },
        };
      },
    };
    const [one, two] = [shareHub(db), shareHub(db)];
    const heard: Notification[][] = [[], []];
    for (const [n, { hub }] of [one, two].entries()) {
      hub.add({ notified: (each) => heard[n]?.push(each) });
      await hub.start();
    }
    await t.db.query("select pg_notify('perch_documents', 'nonsense'), pg_notify('perch_changes', $1)", [
      '{"v":1,"space_id":"team","seq":7}',
    ]);
    await eventually(() => heard.every((each) => each.length > 0));
    expect(heard).toEqual(Array(2).fill([{ channel: "perch_changes", spaceId: "team", seq: 7 }]));
    expect([opened, closed]).toEqual([1, 0]);
    await one.release();
    expect(closed).toBe(0);
    await two.release();
    expect(closed).toBe(1);
    const later = shareHub(db);
    expect(later.hub).not.toBe(one.hub);
    await later.release();
  });
});
