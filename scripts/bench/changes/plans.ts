import pg from "pg";
import { pullSql } from "./readers.js";
import { change, pushSql } from "./writers.js";

const pageSize = 1000;
/** Changes in one transaction, here and in what the log was filled with. */
const longestPush = 100;

/**
 * The plans of everything that a pull, a push of one and a push of a hundred run inside, as the server logs them. Throws when one of
 * them reads a large table from end to end, or sorts more than a page: a thousand entries, and the rest of the transaction in which they end.
 */
export async function plans(url: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const found: string[] = [];
  client.on("notice", (notice) => {
    const text = notice.message ?? "";
    if (text.includes("plan:")) found.push(text.slice(text.indexOf("Query Text:")));
  });
  for (const setting of [
    "log_min_duration = 0",
    "log_nested_statements = on",
    "log_analyze = on",
    "log_timing = off",
  ]) {
    if (setting.startsWith("log_min")) await client.query("load 'auto_explain'");
    await client.query(`set auto_explain.${setting}`);
  }
  await client.query("set client_min_messages = log");
  await client.query(pullSql("text"), ["reader", "{}"]);
  await client.query(pushSql, ["user0", JSON.stringify([change("s1")])]);
  await client.query(pushSql, ["user0", JSON.stringify(Array.from({ length: longestPush }, () => change("s1")))]);
  await client.end();
  const large = /Seq Scan on (sync_changes|stored_records|push_receipts|space_heads)\b/;
  for (const plan of found) {
    if (large.test(plan)) throw new Error(`a sequential scan:\n${plan}`);
    for (const sort of plan.matchAll(/Sort .*\(actual rows=(\d+)/g)) {
      if (Number(sort[1]) > pageSize + longestPush) throw new Error(`a sort of more than a page:\n${plan}`);
    }
  }
  return found.filter((plan) => /sync_changes|stored_records|push_receipts|space_heads/.test(plan));
}
