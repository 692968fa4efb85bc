/**
 * Keeps one subscription true for as long as somebody looks: starts it anew wherever the stream breaks, and reads by query what the
 * stream does not bring. What it follows is said in a `Plan` (`client.ts`). What is absent: resuming at a cursor.
 *
 * A list's subscription brings nothing from before it. So the state is read twice: at the start, to have something to show; and when
 * the first frame is here, which says where the stream is, because from then on nothing can be missed: what the second answer does not
 * hold comes as a frame. Frames wait while a read is under way, and are folded on top of it.
 */

import { SwaptideError, toError } from "./errors.ts";
import type { BlockRef, Frame, Gap } from "./frame.ts";

/** Frames that wait for a read. More than the engine keeps for a slow reader: the read hangs. */
const HELD_MAX = 1_000;
/** A server that restarts is back within a second or two; all its clients must not come at once. */
const WAIT_MS = { first: 200, most: 10_000 };

/** What to follow. */
export interface Plan<S, T> {
  /** The state of a new subscription. */
  start(): S;
  /** Starts it; returns what ends it. */
  subscribe(sink: Sink<T>): () => void;
  apply(state: S, frame: Frame<T>): S;
  gap(state: S): Gap | null;
  /** Asks for the state at this height or later; how the answer is put into it. Absent where the subscription brings a SNAPSHOT. */
  read?(height: number | null): Promise<(state: S) => S>;
}

export interface Sink<T> {
  next(frame: Frame<T>): void;
  /** It is over, and why. */
  ended(trouble: unknown): void;
}

export interface Observer<S, T> {
  /** The state now, and the frame that made it so: `null` where a query did. */
  next(state: S, frame: Frame<T> | null): void;
  /** Something broke and is being mended: for a log, or a badge. */
  trouble?(error: SwaptideError): void;
  /** The request is wrong as it stands. Nothing more will come. */
  failed(error: SwaptideError): void;
}

/** What began together and ends together: one subscription, and the state that is folded from it. */
interface Round<S, T> {
  state: S;
  /** Where the first frame was; null before it. */
  first: BlockRef | null;
  /** The read that nothing can escape has begun. */
  sure: boolean;
  /** Frames that wait for the read that is under way; null while there is none. */
  held: Frame<T>[] | null;
}

export class Following<S, T> {
  readonly #plan: Plan<S, T>;
  readonly #observer: Observer<S, T>;
  /** What is not of this round is not listened to any more. */
  #round: Round<S, T> | null = null;
  #end = (): void => {};
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;

  constructor(plan: Plan<S, T>, observer: Observer<S, T>) {
    this.#plan = plan;
    this.#observer = observer;
    this.#begin();
  }

  stop(): void {
    this.#round = null;
    clearTimeout(this.#timer);
    this.#end();
  }

  #begin(): void {
    const round: Round<S, T> = { state: this.#plan.start(), first: null, sure: !this.#plan.read, held: null };
    this.#round = round;
    this.#end = this.#plan.subscribe({
      next: (frame) => this.#hear(round, frame),
      ended: (trouble) => this.#broken(round, trouble),
    });
    void this.#read(round);
  }

  #hear(round: Round<S, T>, frame: Frame<T>): void {
    if (this.#round !== round) return;
    round.first ??= frame.block;
    this.#failures = 0;
    if (!round.held) {
      this.#fold(round, frame);
      if (!round.sure) void this.#read(round);
    } else if (round.held.push(frame) > HELD_MAX) {
      this.#broken(round, new SwaptideError("CONNECTION", "reading the state takes too long"));
    }
  }

  #fold(round: Round<S, T>, frame: Frame<T>): void {
    round.state = this.#plan.apply(round.state, frame);
    const gap = this.#plan.gap(round.state);
    if (!gap) return this.#tell(round.state, frame);
    const text = `frames of ${gap.topic} were lost: number ${gap.expected} was expected, ${gap.got} came`;
    this.#broken(round, new SwaptideError("CONNECTION", text));
  }

  /** An observer that throws has a bug, which must show; `graphql-ws` would take it for a broken connection. */
  #tell(state: S, frame: Frame<T> | null): void {
    try {
      this.#observer.next(state, frame);
    } catch (bug) {
      queueMicrotask(() => {
        throw bug;
      });
    }
  }

  async #read(round: Round<S, T>): Promise<void> {
    if (!this.#plan.read) return;
    round.held = [];
    round.sure = round.first !== null;
    try {
      const put = await this.#plan.read(round.first?.number ?? null);
      if (this.#round !== round) return;
      round.state = put(round.state);
    } catch (trouble) {
      return this.#broken(round, trouble);
    }
    const held = round.held;
    round.held = null;
    this.#tell(round.state, null);
    for (const frame of held) if (this.#round === round) this.#fold(round, frame);
    if (this.#round === round && round.first && !round.sure) await this.#read(round);
  }

  /** Ends the round; where that can help, the next one begins after a pause. */
  #broken(round: Round<S, T>, trouble: unknown): void {
    if (this.#round !== round) return;
    this.#round = null;
    this.#end();
    const error = toError(trouble);
    if (!error.passes) return this.#observer.failed(error);
    const wait = Math.min(WAIT_MS.most, WAIT_MS.first * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.#begin(), wait);
    this.#observer.trouble?.(error);
  }
}
