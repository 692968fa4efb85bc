/** What every subscription sends, and the two things that all of them share: places in the chain, and lost frames. */

/**
 * - `SNAPSHOT`: the state to start from.
 * - `UPDATE`: new things, oldest first.
 * - `RETRACT`: takes back what it lists, newest first. A reorg.
 * - `ROLLBACK`: drop everything above `block`: a reorg while you were away, and nobody remembers what it took back.
 * - `HEARTBEAT`: nothing new; it says where the stream is. A list's subscription begins with one.
 */
export type FrameKind = "SNAPSHOT" | "UPDATE" | "RETRACT" | "ROLLBACK" | "HEARTBEAT";

/** The hash names a block; a number alone does not survive a reorg. */
export interface BlockRef {
  readonly number: number;
  readonly hash: `0x${string}`;
  /** Seconds since 1970. 0 where only the position is known. */
  readonly timestamp: number;
}

export interface Frame<T> {
  readonly topic: string;
  /** Counts the frames of this topic. Since the last SNAPSHOT or HEARTBEAT, a number left out is a frame lost. */
  readonly seq: number;
  readonly kind: FrameKind;
  /** The newest block once this frame is applied; after a RETRACT the newest that is left. */
  readonly block: BlockRef;
  /** Where the stream is once this frame is applied: a new subscription can go on from there, and a page can end there. */
  readonly cursor: string;
  readonly data: readonly T[];
}

/** A hole in the stream: what was folded from it is not the truth any more, and has to be read again. */
export interface Gap {
  readonly topic: string;
  readonly expected: number;
  readonly got: number;
}

/** What the next frame's number is held against: after a SNAPSHOT or HEARTBEAT the count may go on anywhere. */
export function countedFrom(frame: Frame<unknown>): number | null {
  return frame.kind === "SNAPSHOT" || frame.kind === "HEARTBEAT" ? null : frame.seq;
}

/** The hole before `seq`, if there is one. `last` is null where any number may come. */
export function gapBefore(topic: string, last: number | null, seq: number): Gap | null {
  return last === null || seq === last + 1 ? null : { topic, expected: last + 1, got: seq };
}
