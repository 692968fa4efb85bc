import assert from "node:assert/strict";
import { test } from "node:test";

import type { FrameKind, Gap } from "../src/frame.ts";
import { againList, emptyList, readList, reduceList } from "../src/reducer.ts";
import type { Item } from "../src/reducer.ts";
import { blockRef, frame, items } from "./make.ts";

/** A frame: its kind, the block after it, the ids it names; and its number where it is not the next one. */
type Step = readonly [kind: FrameKind, block: number, ids?: string, seq?: number];

const CASES: readonly { name: string; limit?: number; steps: readonly Step[]; left: string; gap?: Omit<Gap, "topic"> }[] = [
  { name: "nothing is an empty list", steps: [], left: "" },
  { name: "updates append", steps: [["UPDATE", 1, "1a0 1a3"], ["UPDATE", 2, "2a0"]], left: "1a0 1a3 2a0" },
  { name: "a retract removes what it lists", steps: [["UPDATE", 1, "1a0"], ["UPDATE", 2, "2a0 2a1"], ["RETRACT", 1, "2a1 2a0"]], left: "1a0" },
  {
    name: "a reorg is a retract and an update",
    steps: [["UPDATE", 2, "1a0 2a0"], ["RETRACT", 1, "2a0"], ["UPDATE", 3, "2b5 3b0"]],
    left: "1a0 2b5 3b0",
  },
  { name: "an id from before the subscription is left alone", steps: [["RETRACT", 4, "6a0 5a0"], ["UPDATE", 5, "5b0"]], left: "5b0" },
  {
    name: "an id may come again after it was taken back",
    steps: [["UPDATE", 1, "1a0"], ["RETRACT", 0, "1a0"], ["UPDATE", 1, "1b0"], ["RETRACT", 0, "1b0"], ["UPDATE", 1, "1a0"]],
    left: "1a0",
  },
  { name: "an id is never there twice", steps: [["UPDATE", 1, "1a0 1a1"], ["UPDATE", 2, "1a1 1a0 2a0"]], left: "1a0 1a1 2a0" },
  { name: "the order is the chain's, by number and not by text", steps: [["UPDATE", 10, "10a0 9a11 9a2"]], left: "9a2 9a11 10a0" },
  { name: "a snapshot forgets what was", steps: [["UPDATE", 2, "1a0 2a0"], ["SNAPSHOT", 3, "3a0"]], left: "3a0" },
  { name: "a rollback drops everything above its block", steps: [["UPDATE", 3, "1a0 2a0 2a1 3a0"], ["ROLLBACK", 2]], left: "1a0 2a0 2a1" },
  { name: "the stream goes on after a rollback", steps: [["UPDATE", 3, "2a0 3a0"], ["ROLLBACK", 2], ["UPDATE", 3, "3b0"]], left: "2a0 3b0" },
  { name: "a heartbeat changes nothing", steps: [["UPDATE", 1, "1a0"], ["HEARTBEAT", 2]], left: "1a0" },
  { name: "the oldest are dropped", limit: 3, steps: [["UPDATE", 1, "1a0 1a1"], ["UPDATE", 2, "2a0 2a1"]], left: "1a1 2a0 2a1" },
  { name: "what was dropped does not come back", limit: 2, steps: [["UPDATE", 3, "1a0 2a0 3a0"], ["RETRACT", 2, "3a0"]], left: "2a0" },
  { name: "a snapshot is bounded as well", limit: 2, steps: [["SNAPSHOT", 3, "1a0 2a0 3a0"]], left: "2a0 3a0" },
  { name: "the count may begin anywhere", steps: [["UPDATE", 1, "1a0", 41], ["UPDATE", 2, "2a0", 42]], left: "1a0 2a0" },
  {
    name: "a number left out is a gap",
    steps: [["UPDATE", 1, "1a0", 0], ["UPDATE", 3, "3a0", 2]],
    left: "1a0 3a0",
    gap: { expected: 1, got: 2 },
  },
  { name: "a number that comes again is a gap", steps: [["UPDATE", 1, "1a0", 0], ["UPDATE", 1, "1a0", 0]], left: "1a0", gap: { expected: 1, got: 0 } },
  {
    name: "a gap stays, although the count goes on",
    steps: [["UPDATE", 1, "1a0", 0], ["UPDATE", 3, "3a0", 2], ["UPDATE", 4, "4a0", 3]],
    left: "1a0 3a0 4a0",
    gap: { expected: 1, got: 2 },
  },
  {
    name: "after a heartbeat the count may go on anywhere",
    steps: [["UPDATE", 1, "1a0", 3], ["HEARTBEAT", 1, "", 9], ["UPDATE", 2, "2a0", 70], ["UPDATE", 3, "3a0", 71]],
    left: "1a0 2a0 3a0",
  },
  {
    name: "and not after what comes then",
    steps: [["HEARTBEAT", 1, "", 0], ["UPDATE", 2, "2a0", 7], ["UPDATE", 4, "4a0", 9]],
    left: "2a0 4a0",
    gap: { expected: 8, got: 9 },
  },
  { name: "a snapshot mends a gap", steps: [["UPDATE", 1, "1a0", 0], ["UPDATE", 3, "3a0", 2], ["SNAPSHOT", 3, "2a0", 3]], left: "2a0" },
];

for (const { name, limit = 100, steps, left, gap } of CASES) {
  test(name, () => {
    let list = emptyList<Item>(limit);
    for (const [index, [kind, block, ids = "", seq = index]] of steps.entries()) {
      const before = structuredClone(list);
      const next = reduceList(list, frame(kind, seq, block, items(ids)));
      assert.deepEqual(list, before, "the state before is not touched");
      assert.deepEqual(next.block, blockRef(block));
      assert.equal(next.seq, kind === "SNAPSHOT" || kind === "HEARTBEAT" ? null : seq);
      list = next;
    }
    assert.equal(list.items.map(({ id }) => id).join(" "), left);
    assert.deepEqual(list.gap, gap ? { topic: "swaps:1", ...gap } : null);
  });
}

test("frames go on from what was read, and a new subscription's from what was folded", () => {
  const read = readList(3, items("1a0 2a0 3a0 3a1"), blockRef(3));
  assert.deepEqual([read.items, read.block], [items("2a0 3a0 3a1"), blockRef(3)], "the newest are kept");
  const folded = reduceList(reduceList(read, frame("UPDATE", 7, 4, items("4a0"))), frame("UPDATE", 8, 5, items("5a0")));
  assert.equal(folded.gap, null);
  const next = reduceList(againList(folded), frame("RETRACT", 0, 4, items("5a0")));
  assert.deepEqual([next.items, next.gap], [items("3a1 4a0"), null]);
});

test("an id that is told anew has the newer content", () => {
  const [first, second] = [{ ...items("1a0")[0]!, commitment: "LATEST" }, { ...items("1a0")[0]!, commitment: "SAFE" }];
  const list = reduceList(reduceList(emptyList<typeof first>(5), frame("UPDATE", 0, 1, [first])), frame("UPDATE", 1, 1, [second]));
  assert.deepEqual(list.items, [second]);
});

test("a list without room is refused", () => {
  for (const limit of [0, -1, 1.5, Number.NaN]) assert.throws(() => emptyList(limit), RangeError);
});
