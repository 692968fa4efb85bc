/**
 * Folds the frames of a list (swaps, blocks) into what is true now. Pure, without dependencies: it fits `useReducer`, a store, or a
 * worker. What is absent: pools, whose frames carry a state and not a list (`pools.ts`), and everything about connections.
 */

import { countedFrom, gapBefore } from "./frame.ts";
import type { BlockRef, Frame, Gap } from "./frame.ts";

/** Something that happened at one place of the chain. The id says which branch, too; the same id is always at the same place. */
export interface Item {
  readonly id: string;
  readonly block: { readonly number: number };
  readonly logIndex: number;
}

export interface List<T extends Item> {
  /** In the order of the chain, oldest first. No id twice. */
  readonly items: readonly T[];
  /** At most so many are kept; the oldest are dropped. */
  readonly limit: number;
  /** The newest block that is folded in. */
  readonly block: BlockRef | null;
  /** The number of the last frame; null where the next one may have any. */
  readonly seq: number | null;
  /** Frames were lost: read the state again and subscribe anew. Stays until then, or until a SNAPSHOT. */
  readonly gap: Gap | null;
}

/** What a new subscription starts from. */
export function emptyList<T extends Item>(limit: number): List<T> {
  if (!Number.isInteger(limit) || limit < 1) throw new RangeError(`a list keeps at least one item, not ${limit}`);
  return { items: [], limit, block: null, seq: null, gap: null };
}

/** What a query answered of this block; frames come on top of it. */
export function readList<T extends Item>(limit: number, items: readonly T[], block: BlockRef): List<T> {
  return { ...emptyList<T>(limit), items: merged([], items, limit), block };
}

/** The same list, for a subscription that goes on from it: its frames are counted anew. */
export function againList<T extends Item>(list: List<T>): List<T> {
  return { ...list, seq: null, gap: null };
}

/** Applies one frame. */
export function reduceList<T extends Item>(list: List<T>, frame: Frame<T>): List<T> {
  const gap = list.gap ?? (frame.kind === "HEARTBEAT" ? null : gapBefore(frame.topic, list.seq, frame.seq));
  const next = { ...list, seq: countedFrom(frame), block: frame.block, gap };
  switch (frame.kind) {
    case "SNAPSHOT":
      return { ...next, gap: null, items: merged([], frame.data, list.limit) };
    case "UPDATE":
      return { ...next, items: merged(list.items, frame.data, list.limit) };
    case "RETRACT": {
      // It may name ids from before the subscription: what is not here is left alone.
      const gone = new Set(frame.data.map((item) => item.id));
      return { ...next, items: list.items.filter((item) => !gone.has(item.id)) };
    }
    case "ROLLBACK":
      return { ...next, items: list.items.filter((item) => item.block.number <= frame.block.number) };
    case "HEARTBEAT":
      return next;
  }
}

function merged<T extends Item>(items: readonly T[], added: readonly T[], limit: number): readonly T[] {
  const all = [...items];
  for (const item of added) insert(all, item);
  return all.length > limit ? all.slice(-limit) : all;
}

/** By bisection: an UPDATE nearly always appends, but an id may come again. */
function insert<T extends Item>(items: T[], item: T): void {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const other = items[middle];
    if (other !== undefined && byPlace(other, item) < 0) low = middle + 1;
    else high = middle;
  }
  // The same id again is the same event, told anew.
  items.splice(low, items[low]?.id === item.id ? 1 : 0, item);
}

/** The order of the chain. Two branches at the same place only have to have some order. */
export function byPlace(a: Item, b: Item): number {
  return a.block.number - b.block.number || a.logIndex - b.logIndex || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}
