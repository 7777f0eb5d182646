import { describe, expect, it } from "vitest";
import { createHosts } from "../../src/database/hosts.js";
import { PostgresUrlError, readPostgresUrl } from "../../src/database/postgres-url.js";

const urls = (url: string) => readPostgresUrl(url).hosts.map((host) => host.url);

describe("a URL of Postgres", () => {
  it("goes on to the driver as it is where it names one host", () => {
    for (const url of [
      "postgres://u:p@h:1/db?sslmode=require",
      "postgresql://h",
      "postgres:///db",
      "postgres://u@/db",
      "postgres://u:a@b@h/db",
    ])
      expect(urls(url)).toEqual([url]);
  });

  it("names several hosts, each with its port or the default", () => {
    expect(urls("postgres://u:p%40@a:1,b,[::1]:3/db?sslmode=verify-full&target_session_attrs=read-write")).toEqual([
      "postgres://u:p%40@a:1/db?sslmode=verify-full",
      "postgres://u:p%40@b:5432/db?sslmode=verify-full",
      "postgres://u:p%40@[::1]:3/db?sslmode=verify-full",
    ]);
  });

  it("takes hosts, ports and folders of sockets from the query", () => {
    expect(urls("postgres://u@/db?host=a,b&port=1,2")).toEqual(["postgres://u@a:1/db", "postgres://u@b:2/db"]);
    expect(urls("postgres://u@/db?host=a,b&port=7")).toEqual(["postgres://u@a:7/db", "postgres://u@b:7/db"]);
    expect(urls("postgres://u@/db?host=/run/sock")).toEqual(["postgres://u@/db?host=%2Frun%2Fsock&port=5432"]);
    expect(urls("postgres://u@%2Frun%2Fsock/db?port=1")).toEqual(["postgres://u@/db?host=%2Frun%2Fsock&port=1"]);
  });

  it("is called by its hosts, without user and password", () => {
    expect(readPostgresUrl("postgres://u:secret@a:1,b/db").name).toBe("a:1,b:5432/db");
    expect(readPostgresUrl("postgres://u@/db?host=/s").name).toBe("/s:5432/db");
  });

  it.each([
    "postgres://u:secret@h:port/d",
    "postgres://u:secret@h:0/d",
    "postgres://u:secret@a:1:2/d",
    "postgres://u:secret@a,,b/d",
    "postgres://u:secret@/d?host=a,b,c&port=1,2",
    "postgres://u:secret@a,b/d?target_session_attrs=write",
    "postgres://u:secret@a,b/d?load_balance_hosts=yes",
    "postgres://u:secret@a/d?connect_timeout=soon",
    "postgres://u:secret%zz@a/d",
    `postgres://u:secret@${Array.from({ length: 17 }, (_, n) => `h${n}`).join(",")}/d`,
    "mysql://u:secret@h/d",
  ])("is refused without being repeated: %s", (url) => {
    expect(() => readPostgresUrl(url)).toThrow(PostgresUrlError);
    expect(() => readPostgresUrl(url)).toThrow(/^(?!.*secret)/);
  });
});

const standby = { standby: true, read_only: true };
const primary = { standby: false, read_only: false };
const closed = { standby: false, read_only: true };

describe("the hosts of a URL", () => {
  it.each([
    ["any", true, true, true],
    ["read-write", false, true, false],
    ["read-only", true, false, true],
    ["primary", false, true, true],
    ["standby", true, false, false],
  ])("are wanted by %s as libpq does", (target, ...wanted) => {
    const hosts = createHosts(readPostgresUrl(`postgres://a,b/d?target_session_attrs=${target}`));
    expect([standby, primary, closed].map((role) => hosts.unwanted(role) === undefined)).toEqual(wanted);
  });

  it("are tried one after the other; the last that served is tried first", () => {
    const hosts = createHosts(readPostgresUrl("postgres://a,b,c/d"));
    const first = hosts.next();
    expect(first.name).toBe("a:5432");
    hosts.failed(first, new Error("away"));
    const second = hosts.next();
    expect(second.name).toBe("b:5432");
    // Another connection to the first that breaks as well says nothing of the second.
    hosts.failed(first, new Error("away"));
    expect(hosts.next()).toBe(second);
    hosts.reached(second);
    expect(hosts.next()).toBe(second);
  });

  it("are passed on from when nobody answers, or it is just starting, and not when a password is refused", () => {
    const { passesOn } = createHosts(readPostgresUrl("postgres://a,b/d"));
    const withCode = (code: string) => Object.assign(new Error("x"), { code });
    expect(["ECONNREFUSED", "57P03", "25006"].map((code) => passesOn(withCode(code)))).toEqual([true, true, true]);
    expect(["28P01", "53300", "3D000"].map((code) => passesOn(withCode(code)))).toEqual([false, false, false]);
  });

  it("take a primary where a standby is preferred, once none of them is one", () => {
    const hosts = createHosts(readPostgresUrl("postgres://a,b/d?target_session_attrs=prefer-standby"));
    expect(hosts.attempts).toBe(4);
    for (const _ of [1, 2]) {
      expect(hosts.unwanted(primary)).toBeDefined();
      hosts.failed(hosts.next(), new Error("no standby"));
    }
    expect(hosts.unwanted(primary)).toBeUndefined();
    hosts.reached(hosts.next());
    expect(hosts.unwanted(primary)).toBeDefined();
  });

  it("are begun with at random where the load is balanced, and not with one that has just failed", () => {
    let now = 0;
    const hosts = createHosts(readPostgresUrl("postgres://a,b,c/d?load_balance_hosts=random"), () => now);
    const names = () => new Set(Array.from({ length: 200 }, () => hosts.next().name));
    expect(names().size).toBe(3);
    const gone = hosts.next();
    hosts.failed(gone, new Error("away"));
    expect(names()).not.toContain(gone.name);
    expect(names().size).toBe(2);
    now = 20_000;
    expect(names().size).toBe(3);
  });

  it("say of each why it cannot be used, when none can", () => {
    const hosts = createHosts(readPostgresUrl("postgres://u:secret@a,b/d"));
    hosts.failed(hosts.next(), Object.assign(new Error("x"), { code: "ECONNREFUSED" }));
    const last = new Error("it is a standby");
    hosts.failed(hosts.next(), last);
    expect(String(hosts.error(last))).toBe(
      "NoHost: none of the hosts can be used: a:5432: nothing listens there; b:5432: it is a standby",
    );
  });
});
