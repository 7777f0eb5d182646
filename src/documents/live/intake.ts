import { PerchError } from "../../errors.js";
import type { DocumentEngine } from "../loro/engine.js";
import type { Budgets } from "./budgets.js";
import { damage } from "./imports.js";
import { type Append, type DocumentState, ended } from "./state.js";
import type { Author } from "./types.js";
import { isPacked, unpacked } from "./unpack.js";

export interface IntakeParts {
  readonly engine: DocumentEngine;
  readonly budgets: Budgets;
  closed(): boolean;
  /** The next number in the order of arrival. */
  order(): number;
}

/** Where appends come in: each waits for its author's turn, is freed of snapshots, and then stands in the document's line. */
export interface Intake {
  /** As `LiveDocument.append`. */
  append(updates: readonly Uint8Array[], author: Author, origin: unknown): Promise<{ seq: number }>;
  /** Appends that are neither committed nor refused. */
  readonly appending: number;
  /** Of these, the ones that do not stand in line yet. */
  readonly held: number;
}

type Outcome = Pick<Append, "resolve" | "reject">;

export function createIntake(state: DocumentState, { engine, budgets, closed, order }: IntakeParts): Intake {
  let appending = 0;
  let held = 0;

  function append(updates: readonly Uint8Array[], author: Author, origin: unknown): Promise<{ seq: number }> {
    if (closed()) return Promise.reject(new Error("this node is closing; join again"));
    if (author.userId === "") return Promise.reject(new PerchError("PE401", "the update has no author"));
    const { life } = state;
    const begin = (plain: readonly Uint8Array[], outcome: Outcome) => {
      const append = { life, updates: plain, author, origin, ...outcome };
      const untried = { known: false, ends: null, losses: 0, alone: false, rechecked: false };
      state.waiting.push({ kind: "append", order: order(), ...append, ...untried });
      state.pump();
    };
    appending++;
    return new Promise<{ seq: number }>((resolve, reject) => {
      held++;
      budgets.turn(author.userId, () => {
        held--;
        if (closed()) reject(new Error("this node is closing; join again"));
        else if (life !== state.life) reject(ended());
        else if (isPacked(updates)) return unpack(updates, author, { resolve, reject }, begin);
        else begin(updates, { resolve, reject });
      });
    }).finally(() => {
      appending--;
    });
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
      budgets.charge(author.userId, spentMs, false);
      begin(plain, outcome);
    } catch (error) {
      budgets.charge(author.userId, spentMs + damage(error, 0), true);
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
  };
}
