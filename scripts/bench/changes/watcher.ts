import pg from "pg";

/**
 * What a worker does while it is busy: it listens, and notifies for the writers, who leave that to it. Resolves once it watches.
 */
export async function startWatcher(url: string): Promise<{ notifications(): number; close(): Promise<void> }> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  let notifications = 0;
  client.on("notification", () => notifications++);
  await client.query("set role perch_worker");
  await client.query("listen perch_changes");
  let open = true;
  const look = () => client.query({ name: "look", text: "select perch.notify_deferred(poll_for => '2 seconds')" });
  await look();
  const looking = (async () => {
    while (open) {
      await look();
      await new Promise((done) => setTimeout(done, 25));
    }
  })();
  return {
    notifications: () => notifications,
    async close() {
      open = false;
      await looking;
      await client.end();
    },
  };
}
