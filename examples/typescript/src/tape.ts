/**
 * The lines of the tape: newest at the bottom; what a reorg took back stays where it was, struck through. Pure: `index.ts` writes.
 */

import { kind, trade } from "./format.ts";
import { byPlace } from "./reducer.ts";
import type { List } from "./reducer.ts";
import type { Swap } from "./wire.ts";

interface Line {
  readonly swap: Swap;
  readonly retracted: boolean;
}

export interface Tape {
  readonly kept: number;
  readonly lines: readonly Line[];
}

export function emptyTape(kept: number): Tape {
  return { kept, lines: [] };
}

/** The tape once the list has become this one. A line whose swap is gone was taken back, or is too old for the list. */
export function advance(tape: Tape, list: List<Swap>): Tape {
  const fresh = new Map(list.items.map((swap) => [swap.id, swap]));
  const oldest = list.items[0];
  const lines = tape.lines.map(({ swap, retracted }) => {
    // An id may come again after it was taken back.
    if (fresh.delete(swap.id)) return { swap, retracted: false };
    return { swap, retracted: retracted || !oldest || byPlace(swap, oldest) > 0 };
  });
  // What is older than the first line was on the tape already: the lines that are struck through take room that the list has not.
  const first = tape.lines[0]?.swap;
  const come = [...fresh.values()].filter((swap) => !first || byPlace(swap, first) > 0);
  return { ...tape, lines: [...lines, ...come.map((swap) => ({ swap, retracted: false }))].slice(-tape.kept) };
}

/** The newest lines, for a terminal. */
export function paint(tape: Tape, rows: number, width: number): string[] {
  return tape.lines.slice(-rows).map(({ swap, retracted }) => {
    const text = textOf(retracted ? "✗" : " ", swap).slice(0, width);
    return retracted ? `\x1b[9;31m${text}\x1b[0m` : text;
  });
}

/** What is different now, line by line, for a pipe. What is taken back comes first, as it does in a reorg. */
export function changes(before: Tape, after: Tape): string[] {
  const known = new Map(before.lines.map(({ swap, retracted }) => [swap.id, retracted]));
  const gone = after.lines.filter(({ swap, retracted }) => retracted && known.get(swap.id) === false).reverse();
  const come = after.lines.filter(({ swap, retracted }) => !retracted && known.get(swap.id) !== false);
  return [...gone.map(({ swap }) => textOf("✗", swap)), ...come.map(({ swap }) => textOf("+", swap))];
}

function textOf(mark: string, swap: Swap): string {
  const where = swap.pool ? kind(swap.pool) : "";
  return `${mark} #${String(swap.block.number).padEnd(8)} ${where.padEnd(3)} ${trade(swap).padEnd(42)} ${swap.block.hash.slice(0, 10)}:${swap.logIndex}`;
}
