/** A stretch of a sequence: of what was there before the update, by place, or of what the update inserted, by counter. */
export interface Piece {
  own: boolean;
  start: number;
  length: number;
}

/** A sequence while an update's operations are gone through. */
export interface Pieces {
  length(): number;
  /** Errors: none; out: false when `at` lies beyond the end. */
  insert(at: number, counter: number, length: number): boolean;
  /** Takes a stretch out. Out: what it consisted of; undefined when it reaches beyond the end. */
  take(at: number, length: number): Piece[] | undefined;
}

export function createPieces(before: number): Pieces {
  let pieces: Piece[] = before > 0 ? [{ own: false, start: 0, length: before }] : [];
  let total = before;

  /** Cuts at a place. Out: the index of the piece that begins there. */
  function cut(at: number): number {
    let left = at;
    for (const [index, piece] of pieces.entries()) {
      if (left === 0) return index;
      if (left < piece.length) {
        const rest = { own: piece.own, start: piece.start + left, length: piece.length - left };
        pieces.splice(index, 1, { ...piece, length: left }, rest);
        return index + 1;
      }
      left -= piece.length;
    }
    return pieces.length;
  }

  return {
    length: () => total,
    insert(at, counter, length) {
      if (at > total) return false;
      pieces.splice(cut(at), 0, { own: true, start: counter, length });
      total += length;
      return true;
    },
    take(at, length) {
      if (at < 0 || at + length > total) return undefined;
      const from = cut(at);
      const taken = pieces.slice(from, cut(at + length));
      pieces = [...pieces.slice(0, from), ...pieces.slice(from + taken.length)];
      total -= length;
      return taken;
    },
  };
}
