/** A watch as a React hook. */

import { useEffect, useState } from "react";
import type { DependencyList } from "react";

import type { SwaptideError } from "./errors.ts";
import type { Observer, Stop } from "./follow.ts";

export interface Watched<S> {
  /** What is true now; null before the first word. */
  readonly state: S | null;
  /** The stream is broken and is being mended; `state` is what was true when it broke. */
  readonly trouble: SwaptideError | null;
  /** The request is wrong: nothing more will come. */
  readonly failed: SwaptideError | null;
}

const NOTHING = { state: null, trouble: null, failed: null };

/** Watches while the component is there, and anew when `deps` change: `useWatch((o) => engine.watchSwaps(o, { limit: 50 }), [engine])`. */
export function useWatch<S, T>(watch: (observer: Observer<S, T>) => Stop, deps: DependencyList): Watched<S> {
  const [watched, setWatched] = useState<Watched<S>>(NOTHING);
  useEffect(() => {
    setWatched(NOTHING);
    return watch({
      next: (state) => setWatched({ state, trouble: null, failed: null }),
      trouble: (trouble) => setWatched((before) => ({ ...before, trouble })),
      failed: (failed) => setWatched((before) => ({ ...before, trouble: null, failed })),
    });
  }, deps);
  return watched;
}
