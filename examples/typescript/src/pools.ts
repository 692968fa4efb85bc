/**
 * Folds the frames of `onPoolUpdated`. They are unlike a list's: each carries the pool's whole state at the newest block, also a
 * RETRACT, which only says that a reorg was the reason; and no data means that there is no such pool (any more). One subscription
 * carries a topic for each pool, and each topic has its own SNAPSHOT. What the engine leaves out for a slow reader (`extensions.skipped`) is
 * older than what comes: nothing has to be counted.
 */

import type { BlockRef, Frame } from "./frame.ts";

export interface StateAt {
  readonly id: string;
  /** The block at which the state is true. */
  readonly asOf: BlockRef;
}

export interface States<T extends StateAt> {
  readonly byId: ReadonlyMap<string, T>;
}

export function emptyStates<T extends StateAt>(): States<T> {
  return { byId: new Map() };
}

/** Applies one frame. */
export function reduceStates<T extends StateAt>(states: States<T>, frame: Frame<T>): States<T> {
  const byId = new Map(states.byId);
  const id = idOf(frame.topic);
  switch (frame.kind) {
    case "SNAPSHOT":
    case "UPDATE":
    case "RETRACT":
      if (frame.data.length === 0) byId.delete(id);
      for (const state of frame.data) byId.set(state.id, state);
      return { byId };
    case "ROLLBACK": {
      // A state cannot be undone here: none is better than a wrong one until the next frame brings it.
      const state = byId.get(id);
      if (state && state.asOf.number > frame.block.number) byId.delete(id);
      return { byId };
    }
    case "HEARTBEAT":
      return states;
  }
}

/** `pool:31337:0x…`: an empty frame names its pool nowhere else. */
function idOf(topic: string): string {
  return topic.slice(topic.lastIndexOf(":") + 1);
}
