import { connect } from "node:net";
import { expect, it } from "vitest";
import { cleanup, startNode, until } from "../gateway/support.js";
import { pglite } from "../support/databases.js";

const open = pglite();

const piece = "x".repeat(1024 * 1024);

/** A client that begins a request, and writes on when it has its answer. */
async function begin(port: number, head: string) {
  const socket = connect({ port, host: "127.0.0.1" });
  cleanup(() => socket.destroy());
  let answer = "";
  const seen = { ended: false, broken: undefined as string | undefined };
  socket.setEncoding("utf8");
  socket.on("data", (text) => {
    answer += text;
  });
  socket.on("end", () => {
    seen.ended = true;
  });
  socket.on("error", (error) => {
    seen.broken = error.message;
  });
  socket.write(`POST /v1/push HTTP/1.1\r\nHost: localhost\r\n${head}\r\n`);
  return {
    seen,
    write: (text: string) => void socket.write(text),
    unsent: () => socket.writableLength,
    answered: () =>
      until(() => {
        const [headers = "", body] = answer.split("\r\n\r\n");
        const length = Number(/content-length: (\d+)/i.exec(headers)?.[1]);
        return body !== undefined && Buffer.byteLength(body) === length ? answer.slice(9, 12) : seen.broken;
      }),
  };
}

it.each([
  ["413", "a length over the limit", `Authorization: Bearer ada\r\nContent-Length: ${20 * piece.length}\r\n`],
  ["401", "no token", `Content-Length: ${20 * piece.length}\r\n`],
  ["413", "pieces over the limit", "Authorization: Bearer ada\r\nTransfer-Encoding: chunked\r\n"],
])(
  "a request that is refused (%s, %s) is answered, and its rest is taken before the connection ends",
  async (status, _, head) => {
    const node = await startNode(await open());
    const chunked = head.includes("chunked");
    const sent = chunked ? `${piece.length.toString(16)}\r\n${piece}\r\n` : piece;
    const client = await begin(Number(new URL(node.gateway.url).port), head);
    for (let n = 0; n < 10; n += 1) client.write(sent);
    expect(await client.answered()).toBe(status);
    for (let n = 0; n < 10; n += 1) client.write(sent);
    if (chunked) client.write("0\r\n\r\n");
    await until(() => client.seen.ended || client.seen.broken);
    expect({ ...client.seen, unsent: client.unsent() }).toEqual({ ended: true, broken: undefined, unsent: 0 });
  },
);

it("whoever has been answered and does not end what they send is cut off", async () => {
  const node = await startNode(await open(), { env: { PERCH_SLOW_READER_MS: "1000" } });
  const client = await begin(Number(new URL(node.gateway.url).port), `Content-Length: ${20 * piece.length}\r\n`);
  client.write("x");
  expect(await client.answered()).toBe("401");
  await until(() => client.seen.ended || client.seen.broken);
});
