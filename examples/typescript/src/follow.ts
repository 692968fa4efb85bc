/**
 * `follow()` keeps a state true for as long as somebody looks, through reorgs, lost connections, and an engine that is killed and starts
 * again. What it follows is said in a `Plan` (`client.ts`); a new topic needs nothing else.
 *
 * The first frame of a list's subscription is a HEARTBEAT, and its cursor is a place in the chain. The state at exactly that place is read
 * by query, and frames that come meanwhile wait to be folded on top of it. Nothing is missed and nothing is doubled, by construction.
 *
 * Where the stream breaks, the state and its cursor are kept, and the next subscription goes on right after it (`resumeFrom`): the engine
 * sends what a reorg took back meanwhile, then what came. Only where that is not known any more does it begin anew.
 */

import { SwaptideError, toError } from "./errors.ts";
import type { Frame, Gap } from "./frame.ts";

/** Frames that wait for a read. More than the engine keeps for a slow reader: the read hangs. */
const HELD_MAX = 1_000;
/** A server that restarts is back within a second or two; all its clients must not come at once. */
const WAIT_MS = { first: 200, most: 10_000 };
/** After so long away, a short list is sooner read anew than everything that was missed is told. */
const AWAY_MAX_MS = 10 * 60_000;

/** What to follow. */
export interface Plan<S, T> {
  /** The state to begin with. */
  start(): S;
  /** Subscribes, from now on or right after a cursor; returns what ends it. */
  subscribe(sink: Sink<T>, after: string | null): Stop;
  apply(state: S, frame: Frame<T>): S;
  /** Where each frame counts: what `apply` found missing, and the same state, ready for frames that are counted anew. */
  counts?: { gap(state: S): Gap | null; again(state: S): S };
  /** Asks for the state at this frame's cursor. Absent where the subscription brings a SNAPSHOT, or begins with nothing. */
  read?(at: Frame<T>): Promise<S>;
}

export interface Sink<T> {
  next(frame: Frame<T>): void;
  /** It is over, and why. */
  ended(trouble: unknown): void;
}

export interface Observer<S, T> {
  /** The state now, and the frame that made it so: `null` where it was read anew. */
  next(state: S, frame: Frame<T> | null): void;
  /** Something broke and is being mended: for a log, or a badge. */
  trouble?(error: SwaptideError): void;
  /** The request is wrong as it stands. Nothing more will come. */
  failed(error: SwaptideError): void;
}

/** What ends it. */
export type Stop = () => void;

/** Follows until it is stopped. */
export function follow<S, T>(plan: Plan<S, T>, observer: Observer<S, T>): Stop {
  const following = new Following(plan, observer);
  return () => following.stop();
}

/** One subscription, and the state that its frames are folded into. */
interface Round<S, T> {
  state: S;
  /** Where the state is in the stream; null before there is one. */
  cursor: string | null;
  /** Frames that wait for the read that is under way; null while there is none. */
  held: Frame<T>[] | null;
  /** When the stream was heard last. */
  heardAt: number;
  /** It goes on where another ended. */
  readonly resumes: boolean;
}

class Following<S, T> {
  readonly #plan: Plan<S, T>;
  readonly #observer: Observer<S, T>;
  /** What is not of this round is not listened to any more. */
  #round: Round<S, T> | null = null;
  #end: Stop = () => {};
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;

  constructor(plan: Plan<S, T>, observer: Observer<S, T>) {
    this.#plan = plan;
    this.#observer = observer;
    this.#begin(null);
  }

  stop(): void {
    this.#round = null;
    clearTimeout(this.#timer);
    this.#end();
  }

  #begin(broken: Round<S, T> | null): void {
    const kept = broken && !(this.#plan.read && Date.now() - broken.heardAt > AWAY_MAX_MS) ? broken : null;
    const round: Round<S, T> = kept
      ? { ...kept, state: this.#plan.counts?.again(kept.state) ?? kept.state, resumes: true }
      : { state: this.#plan.start(), cursor: null, held: null, heardAt: Date.now(), resumes: false };
    this.#round = round;
    const sink: Sink<T> = {
      next: (frame) => this.#hear(round, frame),
      ended: (trouble) => this.#broken(round, trouble),
    };
    this.#end = this.#plan.subscribe(sink, round.cursor);
  }

  #hear(round: Round<S, T>, frame: Frame<T>): void {
    if (this.#round !== round) return;
    round.heardAt = Date.now();
    if (round.held) {
      if (round.held.push(frame) > HELD_MAX) this.#broken(round, new SwaptideError("CONNECTION", "reading the state takes too long"));
    } else if (this.#plan.read && round.cursor === null) {
      void this.#read(round, frame);
    } else {
      this.#fold(round, frame);
    }
  }

  #fold(round: Round<S, T>, frame: Frame<T>): void {
    const state = this.#plan.apply(round.state, frame);
    const gap = this.#plan.counts?.gap(state);
    if (gap) {
      // The state before it is still true, at its cursor.
      const text = `frames of ${gap.topic} were lost: number ${gap.expected} was expected, ${gap.got} came`;
      return this.#broken(round, new SwaptideError("CONNECTION", text));
    }
    this.#stands(round, state, frame.cursor);
    this.#tell(state, frame);
  }

  #stands(round: Round<S, T>, state: S, cursor: string): void {
    round.state = state;
    round.cursor = cursor;
    this.#failures = 0;
  }

  async #read(round: Round<S, T>, at: Frame<T>): Promise<void> {
    const held: Frame<T>[] = [];
    round.held = held;
    try {
      const state = await this.#plan.read!(at);
      if (this.#round !== round) return;
      this.#stands(round, state, at.cursor);
    } catch (trouble) {
      return this.#broken(round, trouble);
    }
    round.held = null;
    this.#tell(round.state, null);
    for (const frame of held) if (this.#round === round) this.#fold(round, frame);
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

  /** Ends the round; where that can help, the next one begins after a pause. */
  #broken(round: Round<S, T>, trouble: unknown): void {
    if (this.#round !== round) return;
    this.#round = null;
    this.#end();
    const error = toError(trouble);
    // What is wrong with a request that resumes may be its cursor: of another chain, or of a server that is not this one.
    if (!error.passes && !round.resumes) return this.#observer.failed(error);
    const goesOn = error.passes && error.code !== "CURSOR_EXPIRED" && round.cursor !== null;
    const wait = Math.min(WAIT_MS.most, WAIT_MS.first * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.#begin(goesOn ? round : null), wait);
    this.#observer.trouble?.(error);
  }
}
