/**
 * The real engine on a real chain that is being reorganised while this runs. Both are somebody else's to start:
 *
 *     cargo xtask demo --reorg-every 4 --block-ms 500
 *     SWAPTIDE_URL=http://127.0.0.1:8080 RPC_URL=http://127.0.0.1:… npm test      # the demo prints ws://…
 */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createPublicClient, http } from "viem";
import { WebSocket } from "ws";

import { POOLS_MAX, Swaptide } from "../src/client.ts";
import type { FrameKind } from "../src/frame.ts";
import { emptyList } from "../src/reducer.ts";
import type { Item, List } from "../src/reducer.ts";
import { verifyPool, verifySwap } from "../src/verify.ts";
import type { Verdict } from "../src/verify.ts";
import type { Block, Pool, Swap } from "../src/wire.ts";

const { SWAPTIDE_URL, RPC_URL } = process.env;
const skip = SWAPTIDE_URL && RPC_URL ? false : "set SWAPTIDE_URL and RPC_URL to an engine and its node (README.md)";
/** A demo with `--reorg-every 4 --block-ms 500` needs about 15 s. */
const PATIENCE_MS = 180_000;
const REORGS = 5;
/** So many equal states after an UPDATE, and one at least after a RETRACT. */
const VERDICTS = 20;
/** Frames that say the same as an answer may be a moment behind it. */
const BEHIND_MS = 1_000;

const engine = new Swaptide({ url: SWAPTIDE_URL ?? "http://127.0.0.1:8080", webSocketImpl: WebSocket });
const chain = createPublicClient({ transport: http(RPC_URL ?? "http://127.0.0.1:8545") });
after(() => engine.close());

const ids = (items: readonly Item[]) => items.map(({ id }) => id);
const same = (a: readonly string[], b: readonly string[]) => a.length === b.length && a.every((id, index) => id === b[index]);
const giveUp = (error: Error): never => {
  throw error;
};

/** Lets a test wait for what callbacks bring. */
function bell() {
  let waiting: (() => void)[] = [];
  return {
    ring: () => {
      for (const wake of waiting.splice(0)) wake();
    },
    /** Until it rings, or for so long. */
    rung: (ms: number) =>
      new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        waiting.push(() => (clearTimeout(timer), resolve()));
      }),
  };
}

/** Fails with what is there, instead of hanging, when the chain does not do what the test needs. */
async function until(what: () => boolean, change: ReturnType<typeof bell>, deadline: number, missing: () => string) {
  while (!what()) {
    if (Date.now() > deadline) assert.fail(missing());
    await change.rung(BEHIND_MS);
  }
}

test("after every reorg the folded stream is what the history says", { skip, timeout: PATIENCE_MS + 30_000 }, async (t) => {
  const deadline = Date.now() + PATIENCE_MS;
  const change = bell();
  let blocks: List<Block> = emptyList(1);
  let reorgs = 0;
  const stopBlocks = engine.watchBlocks(
    {
      next(list, frame) {
        // A block stands on the one before it, also where a reorg cut the chain.
        for (const [index, block] of list.items.entries()) {
          const before = list.items[index - 1];
          if (before) assert.deepEqual([block.block.number, block.parentHash], [before.block.number + 1, before.id]);
        }
        blocks = list;
        if (frame?.kind === "RETRACT") reorgs++;
        change.ring();
      },
      failed: giveUp,
    },
    { limit: 50 },
  );
  t.after(stopBlocks);

  /** What each id was told last: there, or taken back. */
  const told = new Map<string, boolean>();
  let list: List<Swap> = emptyList(1);
  /** States since somebody began to compare. */
  let states: List<Swap>[] = [];
  const stopSwaps = engine.watchSwaps(
    {
      next(now, frame) {
        if (!frame) told.clear();
        for (const { id } of frame?.data ?? []) told.set(id, frame?.kind !== "RETRACT");
        list = now;
        states.push(now);
        change.ring();
      },
      trouble: (error) => t.diagnostic(`connecting again: ${error.message}`),
      failed: giveUp,
    },
    { limit: 1_000_000 },
  );
  t.after(stopSwaps);

  /** Whether some state held during the query, or just after it, is what it answered. */
  const agrees = async () => {
    states = [list];
    const truth = ids(await engine.swaps(1_000_000));
    const end = Date.now() + BEHIND_MS;
    while (!states.splice(0).some((state) => same(ids(state.items), truth))) {
      if (Date.now() > end) return { truth, folded: ids(list.items) };
      await change.rung(BEHIND_MS);
    }
    return null;
  };

  let compared = 0;
  for (let reorg = 1; reorg <= REORGS; reorg++) {
    const missing = () => `${reorgs} reorgs in ${PATIENCE_MS / 1_000} s: run a chain that has them, such as the demo with --reorg-every 4`;
    await until(() => reorgs >= reorg && list.items.length > 0, change, deadline, missing);
    for (let apart = await agrees(); apart; apart = await agrees()) {
      if (Date.now() > deadline) assert.deepEqual(apart.folded, apart.truth, "the folded stream is the history");
    }
    compared++;
    // The frames of one change come in any order among topics: only this one's count.
    const gone = ids(list.items).filter((id) => told.get(id) === false);
    assert.deepEqual(gone, [], "nothing that was taken back is left");
    assert.equal(new Set(ids(list.items)).size, list.items.length, "no id twice");
  }
  const retracted = [...told.values()].filter((there) => !there).length;
  t.diagnostic(`${reorgs} reorgs, ${told.size} swaps told, ${retracted} taken back, ${compared} times equal, block ${blocks.block?.number}`);
  assert.ok(retracted > 0, "swaps were taken back, not only blocks");
});

test("the state in a pool's frame is what its contract answers at that block", { skip, timeout: PATIENCE_MS + 30_000 }, async (t) => {
  const deadline = Date.now() + PATIENCE_MS;
  const change = bell();
  const ids = (await engine.pools()).slice(0, POOLS_MAX).map(({ id }) => id);
  assert.ok(ids.length > 0, "the engine follows pools");
  /** The newest that was told: a slow node must not be asked about blocks that are long gone. */
  const newest = new Map<string, { kind: FrameKind; pool: Pool }>();
  const stop = engine.watchPools(ids, {
    next(_, frame) {
      for (const pool of frame?.data ?? []) newest.set(pool.id, { kind: frame!.kind, pool });
      change.ring();
    },
    failed: giveUp,
  });
  t.after(stop);
  const equal = { SNAPSHOT: 0, UPDATE: 0, RETRACT: 0, ROLLBACK: 0, HEARTBEAT: 0 };
  const protocols = new Set<string>();
  let unknown = 0;
  while (equal.UPDATE < VERDICTS || equal.RETRACT === 0) {
    const missing = () => `too few verdicts: ${JSON.stringify(equal)}, ${unknown} blocks were gone from the node`;
    await until(() => newest.size > 0, change, deadline, missing);
    for (const [id, { kind, pool }] of [...newest]) {
      newest.delete(id);
      if (judge(await verifyPool(chain, pool))) equal[kind]++;
      else unknown++;
      protocols.add(pool.protocol);
    }
  }
  t.diagnostic(`equal: ${JSON.stringify(equal)}; ${unknown} blocks were gone from the node; ${[...protocols].join(" and ")}`);
});

test("swaps are the logs of their blocks", { skip, timeout: PATIENCE_MS }, async (t) => {
  let equal = 0;
  for (const end = Date.now() + PATIENCE_MS; equal < VERDICTS; ) {
    if (Date.now() > end) assert.fail(`too few swaps to compare: ${equal}`);
    const swaps = await engine.swaps(VERDICTS);
    for (const swap of swaps) if (judge(await verifySwap(chain, swap))) equal++;
  }
  t.diagnostic(`${equal} swaps equal their logs`);
});

/** Whether it could be compared; it must not differ. */
function judge(verdict: Verdict): boolean {
  if (verdict.kind === "DIFFERENT") {
    const { block, differences } = verdict;
    assert.fail(`block ${block.number} ${block.hash}: ${differences.map((d) => `${d.field} ${d.engine}, chain ${d.chain}`).join("; ")}`);
  }
  return verdict.kind === "EQUAL";
}
