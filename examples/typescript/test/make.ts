/** Small values for tests. */

import type { BlockRef, Frame, FrameKind } from "../src/frame.ts";
import type { Item } from "../src/reducer.ts";

/** `7a2`: log 2 of block 7 on branch `a`. */
export function item(id: string): Item {
  const [, number, branch, logIndex] = /^(\d+)([a-z]+)(\d+)$/.exec(id) ?? [];
  if (number === undefined || branch === undefined || logIndex === undefined) throw new Error(`no item is called ${id}`);
  return { id, block: { number: Number(number) }, logIndex: Number(logIndex) };
}

export function items(ids: string): Item[] {
  return ids.split(" ").filter(Boolean).map(item);
}

export function blockRef(number: number): BlockRef {
  return { number, hash: `0x${number.toString(16).padStart(64, "0")}`, timestamp: number };
}

export function frame<T>(kind: FrameKind, seq: number, block: number, data: readonly T[], topic = "swaps:1"): Frame<T> {
  return { topic, seq, kind, block: blockRef(block), cursor: `at ${block}`, data };
}

/** Numbers that repeat with their seed (mulberry32). */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
