/**
 * Whatever a chain does, the folded stream equals the truth. `SEED=… npm test` repeats a run.
 *
 * The chain here extends, forks, and goes back to branches that it left before. What it sends is what the engine sends: for each
 * change one RETRACT, newest first, and one UPDATE, oldest first, both only where they have data; and now and then the frames of
 * resuming. The oracle is not a second reducer: it is the canonical chain itself.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Frame, FrameKind } from "../src/frame.ts";
import { emptyList, reduceList } from "../src/reducer.ts";
import type { Item, List } from "../src/reducer.ts";
import { frame, item, random } from "./make.ts";

const SEED = Number(process.env["SEED"] ?? Date.now() % 1_000_000_000);
const RUNS = 200;
const CHANGES = 60;
const LIMIT = 12;

interface Block {
  readonly number: number;
  readonly items: readonly Item[];
}

class Chain {
  readonly blocks: Block[] = [];
  /** Branches that were left, and the block that each grew from. */
  readonly #left: { readonly parent: Block | undefined; readonly blocks: Block[] }[] = [];
  readonly #below: (below: number) => number;
  #branch = 0;

  constructor(below: (below: number) => number) {
    this.#below = below;
  }

  get truth(): readonly Item[] {
    return this.blocks.flatMap((block) => block.items);
  }

  get tip(): number {
    return this.blocks.length;
  }

  /** The next change: what goes, newest first, and what comes. */
  change(): { gone: Block[]; come: Block[] } {
    const depth = this.#below(3) === 0 ? Math.min(this.tip, 1 + this.#below(4)) : 0;
    const gone = this.blocks.splice(this.tip - depth, depth);
    const parent = this.blocks.at(-1);
    const back = this.#below(2) === 0 ? this.#left.findIndex((branch) => branch.parent === parent) : -1;
    const come = this.#left.splice(back, back < 0 ? 0 : 1)[0]?.blocks ?? this.#fresh(1 + this.#below(3));
    if (gone.length > 0) this.#left.unshift({ parent, blocks: gone });
    this.blocks.push(...come);
    return { gone: gone.toReversed(), come };
  }

  #fresh(count: number): Block[] {
    // `item` wants letters.
    const name = [...String(this.#branch++)].map((digit) => "abcdefghij"[Number(digit)]).join("");
    return Array.from({ length: count }, (_, index) => {
      const number = this.tip + 1 + index;
      return { number, items: Array.from({ length: this.#below(5) }, (_, log) => item(`${number}${name}${log * 3}`)) };
    });
  }
}

function* framesOf(chain: Chain, below: (below: number) => number): Generator<Frame<Item>> {
  let seq = below(3) === 0 ? below(100) : 0;
  const next = (kind: FrameKind, block: number, data: readonly Item[] = []) => frame(kind, seq++, block, data);
  for (let change = 0; change < CHANGES; change++) {
    const { gone, come } = chain.change();
    const ancestor = (come[0]?.number ?? chain.tip + 1) - 1;
    const back = gone.flatMap((block) => block.items.toReversed());
    if (gone.length > 0 && below(8) === 0) yield next("ROLLBACK", ancestor);
    else if (back.length > 0) yield next("RETRACT", ancestor, back);
    const data = come.flatMap((block) => block.items);
    if (data.length > 0) yield next("UPDATE", chain.tip, data);
    if (below(10) === 0) yield next("HEARTBEAT", chain.tip);
    if (below(40) === 0) yield next("SNAPSHOT", chain.tip, chain.truth);
  }
}

const ids = (list: readonly Item[]) => list.map(({ id }) => id);

/** Folds a whole run three times: from the start, bounded, and by a reader who came later. */
function run(seed: number): { retracts: number; again: number } {
  const below = random(seed);
  const chain = new Chain(below);
  let [whole, bounded, late]: List<Item>[] = [emptyList<Item>(1e6), emptyList<Item>(LIMIT), emptyList<Item>(1e6)];
  const told = new Map<string, boolean>();
  const joins = below(60);
  let [count, retracts, again] = [0, 0, 0];
  for (const next of framesOf(chain, below)) {
    whole = reduceList(whole!, next);
    bounded = reduceList(bounded!, next);
    if (count++ >= joins) {
      late = reduceList(late!, next);
      for (const { id } of next.data) {
        if (next.kind === "UPDATE" && told.get(id) === false) again++;
        told.set(id, next.kind !== "RETRACT");
      }
    }
    if (next.kind === "RETRACT") retracts++;
    // Between a RETRACT and its UPDATE the chain is further already.
    const truth = ids(chain.truth.filter((one) => one.block.number <= next.block.number));
    assert.deepEqual(ids(whole.items), truth, "the folded stream is the truth");
    const short = ids(bounded!.items);
    assert.ok(short.length <= LIMIT);
    assert.deepEqual(short, short.length ? truth.slice(-short.length) : [], "a bounded list is the end of the truth");
    if (next.kind === "UPDATE") assert.ok(short.length >= Math.min(LIMIT, next.data.length), "and holds what came last");
    assert.deepEqual(
      ids(late!.items),
      truth.filter((id) => told.has(id)),
      "whoever came later has the truth of what it was told",
    );
    for (const list of [whole, bounded!, late!]) assert.equal(list.gap, null);
  }
  return { retracts, again };
}

test("random chains: the folded stream equals the truth", (t) => {
  t.diagnostic(`SEED=${SEED}`);
  let [retracts, again] = [0, 0];
  for (let index = 0; index < RUNS; index++) {
    try {
      const seen = run(SEED + index);
      retracts += seen.retracts;
      again += seen.again;
    } catch (error) {
      throw new Error(`SEED=${SEED + index} npm test`, { cause: error });
    }
  }
  t.diagnostic(`${RUNS} chains, ${retracts} retracts, ${again} ids that came again`);
  assert.ok(retracts > RUNS && again > 0, "the chains did what they are for");
});

test("random losses: a frame that is left out within a count is noticed at the next one", (t) => {
  t.diagnostic(`SEED=${SEED}`);
  const below = random(SEED);
  const frames = [...framesOf(new Chain(below), below)];
  for (let lost = 1; lost < frames.length - 1; lost++) {
    const list = frames.filter((_, index) => index !== lost).slice(0, lost + 1).reduce(reduceList<Item>, emptyList<Item>(LIMIT));
    const [before, after] = [frames[lost - 1]!, frames[lost + 1]!];
    // A SNAPSHOT or HEARTBEAT begins another count.
    const anew = [before, after].some(({ kind }) => kind === "SNAPSHOT" || kind === "HEARTBEAT");
    const expected = anew ? null : { topic: "swaps:1", expected: after.seq - 1, got: after.seq };
    assert.deepEqual(list.gap, expected, `SEED=${SEED} npm test: frame ${lost} of ${frames.length}`);
  }
});
