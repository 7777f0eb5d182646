import { beforeAll, describe, expect, it } from "vitest";
import type { LiveDocument } from "../../../src/documents/live.js";
import { postgres, type TestDatabase } from "../../support/databases.js";
import { seededRandom } from "../../support/traces.js";
import {
  ada,
  type Client,
  connect,
  countingEngine,
  declare,
  eventually,
  fragileEngine,
  freshId,
  keyOf,
  startNode,
  storedEnds,
  storedText,
  typed,
} from "./support.js";

const alphabet = "abcdefghijklmnopqrstuvwxyz";
const projectedBody = async (document: LiveDocument) => (await document.project()).data.body;

/** Types letter by letter, each when the one before it is stored. */
async function typeAll(client: Client, letters: string): Promise<void> {
  for (const letter of letters) await client.type(letter);
}

const open = postgres(18);

describe("typing", () => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declare(t);
  });

  it("needs the engine twice, and then only when somebody needs the content", async () => {
    const { engine, calls } = countingEngine();
    const node = await startNode(t, { engine });
    const writer = await connect(node, keyOf(freshId("typed")));
    const reader = await connect(node, writer.document.key, { userId: "ben" });
    await typeAll(writer, alphabet);
    expect(calls).toMatchObject({ import: 2 });
    expect(calls.importChecked).toBeUndefined();
    expect(reader.text()).toBe(alphabet);
    expect(await storedText(node.db, writer.document.key)).toBe(alphabet);
    expect(await projectedBody(writer.document)).toBe(alphabet);
    expect(calls).toMatchObject({ import: 2, importChecked: 1, project: 1 });
    // Whoever joins with a part of it gets the rest.
    const late = await connect(node, writer.document.key);
    expect(late.text()).toBe(alphabet);
    await typeAll(writer, alphabet);
    expect(calls).toMatchObject({ import: 2, importChecked: 1 });
    expect(late.text()).toBe(alphabet + alphabet);
    expect((await storedEnds(node.db, writer.document.key)).map((ends) => Object.values(ends))).toEqual(
      Array.from({ length: 52 }, (_, index) => [index + 1]),
    );
  });

  it("is kept back in small numbers only", async () => {
    const { engine, calls } = countingEngine();
    const node = await startNode(t, { engine });
    const reader = await connect(node, keyOf(freshId()), { userId: "ben" });
    const { updates } = typed("x".repeat(400));
    for (const update of updates) await reader.document.append([update], ada, undefined);
    expect(calls.importChecked).toBe(3);
    expect(reader.text()).toBe("x".repeat(400));
    expect(await projectedBody(reader.document)).toBe("x".repeat(400));
  });

  it("survives the loss of the copy it was typed into", async () => {
    const { engine } = countingEngine();
    const node = await startNode(t, { engine });
    const client = await connect(node, keyOf(freshId()));
    const { document } = client;
    await typeAll(client, alphabet);
    await engine.call(document.id, "drop", [document.id]);
    await typeAll(client, alphabet);
    expect(await projectedBody(document)).toBe(alphabet + alphabet);
    await engine.call(document.id, "drop", [document.id]);
    // Not typing, so it is for the engine.
    await client.type("0", 3);
    client.doc.getText("body").delete(0, 2);
    await client.send();
    await engine.call(document.id, "drop", [document.id]);
    await typeAll(client, "123");
    expect(await projectedBody(document)).toBe(client.text());
    expect(await storedText(node.db, document.key)).toBe(client.text());
  });

  it("survives the end of the engine's thread", async () => {
    const { engine, trapping } = fragileEngine();
    const node = await startNode(t, { engine });
    const client = await connect(node, keyOf(freshId()));
    await typeAll(client, alphabet);
    const foe = await connect(node, keyOf(freshId()));
    await expect(foe.document.append([trapping], ada, undefined)).rejects.toMatchObject({ code: "PE422" });
    await typeAll(client, alphabet);
    expect(await projectedBody(client.document)).toBe(alphabet + alphabet);
  });

  it("takes no number twice, whoever used it first", async () => {
    const [node, other] = [await startNode(t), await startNode(t)];
    const client = await connect(node, keyOf(freshId()));
    const far = await connect(other, client.document.key);
    await typeAll(client, "abc");
    await far.document.refresh();
    // The same client, on the other node, while this one thinks that it is typing here.
    const as = (letter: string) => {
      const twin = client.doc.fork();
      twin.setPeerId(client.doc.peerId);
      const before = twin.oplogVersion();
      twin.getText("body").insert(3, letter);
      twin.commit();
      return twin.export({ mode: "update", from: before });
    };
    const [first, second] = [as("d"), as("e")];
    await far.document.append([first], ada, undefined);
    await client.document.refresh();
    // Its letter is kept, under a name of the server's own.
    expect(await client.document.append([second], ada, undefined)).toMatchObject({ forked: true });
    const letters = (text: unknown) => [...String(text)].sort().join("");
    expect(letters(await storedText(node.db, client.document.key))).toBe("abcde");
    expect(letters(await projectedBody(client.document))).toBe("abcde");
  });

  it("that the database refuses is given up, with all that followed, and others go on", async () => {
    await t.asUser("ada", (tx) => tx.query("select perch.create_space(space_id => 'team')"));
    const member = (role: string | null) =>
      t.asUser("ada", (tx) =>
        role === null
          ? tx.query("select perch.remove_space_member(space_id => 'team', user_id => 'ben')")
          : tx.query("select perch.set_space_member(space_id => 'team', user_id => 'ben', role => $1)", [role]),
      );
    await member("editor");
    const node = await startNode(t);
    const key = keyOf(freshId(), "team");
    const [owner, ben] = [await connect(node, key), await connect(node, key, { userId: "ben" })];
    await owner.type("_");
    await typeAll(ben, "abc");
    await member(null);
    const results = await Promise.allSettled([..."def"].map((letter) => ben.type(letter)));
    expect(results.map((result) => result.status === "rejected" && result.reason.code)).toEqual([
      "PE403",
      expect.stringMatching(/PE403|PE422/),
      expect.stringMatching(/PE403|PE422/),
    ]);
    await typeAll(owner, "xyz");
    expect(owner.text()).toBe("_abcxyz");
    expect(await storedText(node.db, key)).toBe("_abcxyz");
    expect(await projectedBody(owner.document)).toBe("_abcxyz");
  });

  it("comes to the limit of a document as everything else does", async () => {
    const { engine } = countingEngine({ documentBytes: 6_000 });
    const node = await startNode(t, { engine });
    const reader = await connect(node, keyOf(freshId()));
    const { updates } = typed("x".repeat(200));
    let stored = 0;
    let refusal: unknown;
    for (const update of updates) {
      refusal = await reader.document.append([update], ada, undefined).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refusal) break;
      stored += update.byteLength;
    }
    // Folded it would be small: the engine measures that, and so lets it grow.
    expect(refusal).toBeUndefined();
    expect(stored).toBeGreaterThan(6_000);
    const random = seededRandom(1);
    const line = () => Array.from({ length: 60 }, () => String.fromCharCode(33 + Math.floor(random() * 90))).join("");
    const noise = typed(Array.from({ length: 300 }, line)).updates;
    const answers = await Promise.allSettled(noise.map((update) => reader.document.append([update], ada, undefined)));
    expect(answers.find((answer) => answer.status === "rejected")?.reason).toMatchObject({
      code: "PE413",
      detail: { limit: "document_bytes", max: 6_000 },
    });
    expect(await projectedBody(reader.document)).toBe(await storedText(node.db, reader.document.key));
  });

  it("goes on beside others on other nodes, and converges", async () => {
    const nodes = [await startNode(t), await startNode(t)];
    const key = keyOf(freshId());
    const clients = await Promise.all(
      nodes.map((node, index) => connect(node, key, { userId: "ada", clientId: `ada-${index}` })),
    );
    const [one, two] = clients as [Client, Client];
    for (let round = 0; round < 30; round++) {
      await Promise.all([typeAll(one, "abc"), typeAll(two, "xyz")]);
      if (round % 7 === 0) await Promise.all(clients.map(({ document }) => document.refresh()));
      if (round % 10 === 5) await projectedBody(one.document);
    }
    await eventually(async () => {
      await Promise.all(clients.map(({ document }) => document.refresh()));
      return one.text() === two.text();
    });
    expect(one.text()).toHaveLength(180);
    expect(await storedText(t.db, key)).toBe(one.text());
    for (const { document } of clients) expect(await projectedBody(document)).toBe(one.text());
  });
});
