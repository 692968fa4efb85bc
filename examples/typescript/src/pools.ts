/**
 * Folds the frames of `onPoolUpdated`. They are unlike a list's: each carries the pool's whole state at the newest block, also a
 * RETRACT, which only says that a reorg was the reason; and no data means that there is no such pool (any more). One subscription
 * carries a topic for each pool, and each topic has its own SNAPSHOT and its own count.
 */

import { countedFrom, gapBefore } from "./frame.ts";
import type { BlockRef, Frame, Gap } from "./frame.ts";

export interface StateAt {
  readonly id: string;
  /** The block at which the state is true. */
  readonly asOf: BlockRef;
}

export interface States<T extends StateAt> {
  readonly byId: ReadonlyMap<string, T>;
  /** The number of the last frame of each topic. */
  readonly seqs: ReadonlyMap<string, number | null>;
  readonly gap: Gap | null;
}

export function emptyStates<T extends StateAt>(): States<T> {
  return { byId: new Map(), seqs: new Map(), gap: null };
}

/** The same states, for a subscription that begins anew: each topic's SNAPSHOT takes the place of what is here. */
export function againStates<T extends StateAt>(states: States<T>): States<T> {
  return { ...states, seqs: new Map(), gap: null };
}

/** Applies one frame. */
export function reduceStates<T extends StateAt>(states: States<T>, frame: Frame<T>): States<T> {
  const hole = frame.kind === "HEARTBEAT" ? null : gapBefore(frame.topic, states.seqs.get(frame.topic) ?? null, frame.seq);
  const seqs = new Map(states.seqs).set(frame.topic, countedFrom(frame));
  // A SNAPSHOT mends its own topic only.
  const mended = frame.kind === "SNAPSHOT" && (states.gap === null || states.gap.topic === frame.topic);
  const next = { ...states, seqs, gap: mended ? null : (states.gap ?? hole) };
  const byId = new Map(states.byId);
  const id = idOf(frame.topic);
  switch (frame.kind) {
    case "SNAPSHOT":
    case "UPDATE":
    case "RETRACT":
      if (frame.data.length === 0) byId.delete(id);
      for (const state of frame.data) byId.set(state.id, state);
      return { ...next, byId };
    case "ROLLBACK": {
      // A state cannot be undone here: none is better than a wrong one until the next frame brings it.
      const state = byId.get(id);
      if (state && state.asOf.number > frame.block.number) byId.delete(id);
      return { ...next, byId };
    }
    case "HEARTBEAT":
      return next;
  }
}

/** `pool:31337:0x…`: an empty frame names its pool nowhere else. */
function idOf(topic: string): string {
  return topic.slice(topic.lastIndexOf(":") + 1);
}
