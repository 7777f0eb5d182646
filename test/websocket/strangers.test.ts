import { once } from "node:events";
import { Agent, get } from "node:http";
import { connect, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { networkOf } from "../../src/http/requests.js";
import { cleanup, rawClient, startNode, until } from "../gateway/support.js";
import { postgres } from "../support/databases.js";

const open = postgres();

describe("sockets that have shown no token", () => {
  it("have places of their own, which a token gives back, and so does leaving", async () => {
    const node = await startNode(await open(), { env: { PERCH_MAX_UNAUTHENTICATED_SOCKETS: "2" } });
    const strangers = [await rawClient(node), await rawClient(node)];
    await expect(rawClient(node)).rejects.toThrow("503");
    await strangers[0]?.join("/app/notes/n1", { token: "ada" });
    const known = await until(() => rawClient(node, { token: "bob" }).catch(() => undefined));
    // One that came with its token takes no place for long, though it joins nothing.
    const third = await until(() => rawClient(node).catch(() => undefined));
    await expect(rawClient(node)).rejects.toThrow("503");
    third.socket.close();
    await until(() => rawClient(node).catch(() => undefined));
    expect(known.socket.readyState).toBe(known.socket.OPEN);
  });
});

it("half requests of one address leave others room: it has twice as many connections as sockets", async () => {
  const node = await startNode(await open(), { env: { PERCH_MAX_SOCKETS_PER_ADDRESS: "2" } });
  const half = () => {
    const socket = connect(node.gateway.port, "127.0.0.1");
    cleanup(() => socket.destroy());
    socket.on("error", () => undefined);
    socket.write("POST /v1/push HTTP/1.1\r\nHost: 127.0.0.1\r\nX");
    return socket;
  };
  const held = Array.from({ length: 4 }, half);
  await once(held[3] as Socket, "connect");
  const fifth = half();
  await new Promise((resolve) => fifth.once("close", resolve));
  const from = (localAddress: string) =>
    new Promise((resolve) => {
      const asked = get(`${node.gateway.url}/healthz`, { localAddress, agent: false });
      asked.on("response", (answer) => resolve(answer.resume().statusCode)).on("error", () => resolve("closed"));
    });
  expect([await from("127.0.0.1"), await from("127.0.0.2")]).toEqual(["closed", 200]);
  held[0]?.destroy();
  await until(async () => (await from("127.0.0.1")) === 200);
});

it.each([
  ["203.0.113.9", "203.0.113.9"],
  ["::ffff:203.0.113.9", "203.0.113.9"],
  ["2001:DB8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8:1:2::7", "2001:db8:1:2::/64"],
  ["2001:db8::7", "2001:db8:0:0::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
  ["not an address", "not an address"],
])("%s is counted as %s", (address, network) => expect(networkOf(address)).toBe(network));

it("an idle connection outlives those that a proxy keeps for a minute", async () => {
  const node = await startNode(await open());
  const agent = new Agent({ keepAlive: true });
  const asked = get(`${node.gateway.url}/healthz`, { agent });
  const [answer] = await once(asked, "response");
  answer.resume();
  await once(answer, "end");
  agent.destroy();
  expect(answer.headers["keep-alive"]).toBe("timeout=65");
});
