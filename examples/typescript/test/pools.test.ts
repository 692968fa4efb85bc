import assert from "node:assert/strict";
import { test } from "node:test";

import type { FrameKind } from "../src/frame.ts";
import { emptyStates, reduceStates } from "../src/pools.ts";
import type { StateAt } from "../src/pools.ts";
import { blockRef, frame } from "./make.ts";

const [A, B] = ["0xaa", "0xbb"];

/** A frame of a pool's topic: kind, pool, block, whether there is such a pool, and its number. */
type Step = readonly [kind: FrameKind, pool: string, block: number, there: boolean, seq: number];

function check(steps: readonly Step[], expected: Record<string, number>) {
  let states = emptyStates<StateAt>();
  for (const [kind, id, block, there, seq] of steps) {
    states = reduceStates(states, frame(kind, seq, block, there ? [{ id, asOf: blockRef(block) }] : [], `pool:31337:${id}`));
  }
  assert.deepEqual(Object.fromEntries([...states.byId].map(([id, { asOf }]) => [id, asOf.number])), expected);
}

test("each pool has its own snapshot, and one does not forget the other", () => {
  check([["SNAPSHOT", A, 5, true, 0], ["SNAPSHOT", B, 5, true, 0]], { [A]: 5, [B]: 5 });
});

test("a retract brings the state at the new head", () => {
  check([["SNAPSHOT", A, 5, true, 0], ["UPDATE", A, 7, true, 1], ["RETRACT", A, 6, true, 2]], { [A]: 6 });
});

test("no data means no such pool, until there is one", () => {
  check([["SNAPSHOT", A, 5, false, 0]], {});
  check([["SNAPSHOT", A, 5, true, 0], ["RETRACT", A, 4, false, 1]], {});
  check([["SNAPSHOT", A, 5, false, 0], ["UPDATE", A, 6, true, 1]], { [A]: 6 });
});

test("what was left out for a slow reader is older than what comes", () => {
  check([["SNAPSHOT", A, 5, true, 0], ["SNAPSHOT", B, 5, true, 0], ["UPDATE", A, 7, true, 4], ["UPDATE", B, 6, true, 1]], { [A]: 7, [B]: 6 });
});

test("after a rollback there is no state above its block, and a heartbeat changes none", () => {
  check([["SNAPSHOT", A, 5, true, 0], ["ROLLBACK", A, 4, false, 1]], {});
  check([["SNAPSHOT", A, 5, true, 0], ["ROLLBACK", A, 5, false, 1], ["HEARTBEAT", A, 9, false, 2]], { [A]: 5 });
});
