import { PerchError } from "../../errors.js";
import type { DocumentEngine } from "../loro/engine.js";
import type { Owned } from "../peer-owners.js";
import type { AuthorLimits } from "./author-limits.js";
import { damage } from "./imports.js";
import { type Append, ended, type OpenDocument } from "./open-document.js";
import type { Owners } from "./owners.js";
import type { Author, LiveDocument } from "./types.js";
import { isPacked, unpacked } from "./unpack.js";

export interface IntakeParts {
  readonly engine: DocumentEngine;
  readonly authorLimits: AuthorLimits;
  readonly owners: Owners;
  /** The next number in the order of arrival. */
  order(): number;
}

/** Where appends come in: each waits for its author's turn, is freed of snapshots, and then stands in the document's line. */
export interface Intake {
  /** As `LiveDocument.append`. */
  append: LiveDocument["append"];
  /** Appends that are neither committed nor refused. */
  readonly appending: number;
  /** Of these, the ones that do not stand in line yet. */
  readonly held: number;
  /** Resolves when those do that wait for an answer from the database, as to whose their peers are. */
  asked(): Promise<void>;
}

type Outcome = Pick<Append, "resolve" | "reject">;

export function createIntake(open: OpenDocument, { engine, authorLimits, owners, order }: IntakeParts): Intake {
  const isClosed = () => open.state.door === "closed";
  let appending = 0;
  let held = 0;
  /** Somebody's peers are being asked for: what comes behind waits, since it may build on it. */
  let asking: Promise<void> | undefined;

  function append(updates: readonly Uint8Array[], author: Author, origin: unknown): ReturnType<LiveDocument["append"]> {
    if (isClosed()) return Promise.reject(new Error("this node is closing; join again"));
    if (author.userId === "") return Promise.reject(new PerchError("PE401", "the update has no author"));
    const { incarnation } = open.state;
    const stand = (plain: readonly Uint8Array[], outcome: Outcome, owned: Owned) => {
      const append = { incarnation, updates: plain, author, origin, owned, ...outcome };
      const untried = { forked: false, known: false, ends: null, losses: 0, rechecked: false };
      open.line.push({ kind: "append", order: order(), ...append, ...untried, alone: owned.foreign.length > 0 });
      open.tell({ is: "waits" });
    };
    const begin = (plain: readonly Uint8Array[], outcome: Outcome) => {
      const owned = asking ? undefined : remembered(plain, author);
      if (owned) stand(plain, outcome, owned);
      else
        ask(plain, author, outcome, (known) =>
          incarnation === open.state.incarnation ? stand(plain, known.outcome, known.owned) : outcome.reject(ended()),
        );
    };
    appending++;
    return new Promise<{ seq: number; forked?: boolean }>((resolve, reject) => {
      held++;
      authorLimits.turn(author.userId, () => {
        held--;
        if (isClosed()) reject(new Error("this node is closing; join again"));
        else if (incarnation !== open.state.incarnation) reject(ended());
        else if (isPacked(updates)) return unpack(updates, author, { resolve, reject }, begin);
        else begin(updates, { resolve, reject });
      });
    }).finally(() => {
      appending--;
    });
  }

  /** What cannot be read is for the engine to refuse. */
  function remembered(updates: readonly Uint8Array[], { userId }: Author): Owned | undefined {
    try {
      return owners.remembered(updates, userId);
    } catch {
      return { foreign: [], own: [] };
    }
  }

  function ask(
    updates: readonly Uint8Array[],
    author: Author,
    outcome: Outcome,
    answered: (known: { outcome: Outcome; owned: Owned }) => void,
  ): void {
    held++;
    const asked = (asking ?? Promise.resolve()).then(async () => {
      try {
        const owned = remembered(updates, author) ?? (await owners.ask(updates, author.userId));
        const resolve: Outcome["resolve"] = (result) => {
          if (!result.forked) owners.wrote(author.userId, owned.own);
          outcome.resolve(result);
        };
        answered({ outcome: { ...outcome, resolve }, owned });
      } catch (error) {
        outcome.reject(error);
      } finally {
        held--;
        if (asking === asked) asking = undefined;
      }
    });
    asking = asked;
  }

  async function unpack(
    updates: readonly Uint8Array[],
    author: Author,
    outcome: Outcome,
    begin: (plain: readonly Uint8Array[], outcome: Outcome) => void,
  ): Promise<void> {
    held++;
    let spentMs = 0;
    const spent = (ms: number) => {
      spentMs = ms;
    };
    try {
      const plain = await unpacked(engine, author.userId, updates, spent);
      authorLimits.charge(author.userId, spentMs, false);
      begin(plain, outcome);
    } catch (error) {
      authorLimits.charge(author.userId, spentMs + damage(error, 0), true);
      outcome.reject(error);
    } finally {
      held--;
    }
  }

  return {
    append,
    get appending() {
      return appending;
    },
    get held() {
      return held;
    },
    asked: () => asking ?? Promise.resolve(),
  };
}
