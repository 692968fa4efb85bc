/**
 * `follow` while the engine is killed, restarted and reorganised by somebody else, who says on standard input when that is over:
 * `end HASH`, with the newest block. `tests/it/examples.rs` does it; alone this test is left out.
 */

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { createPublicClient, http } from "viem";
import { WebSocket } from "ws";

import { Swaptide } from "../src/client.ts";
import { emptyStates } from "../src/pools.ts";
import type { States } from "../src/pools.ts";
import { emptyList } from "../src/reducer.ts";
import type { List } from "../src/reducer.ts";
import { verifyPool } from "../src/verify.ts";
import type { Block, Pool, Swap } from "../src/wire.ts";

const { SWAPTIDE_URL, RPC_URL, SWAPTIDE_IS_KILLED } = process.env;
const skip = SWAPTIDE_URL && RPC_URL && SWAPTIDE_IS_KILLED ? false : "somebody has to kill the engine: tests/it/examples.rs does";

const engine = new Swaptide({ url: SWAPTIDE_URL ?? "http://127.0.0.1:8080", webSocketImpl: WebSocket });
after(() => engine.close());
const failed = (error: Error): never => {
  throw error;
};

test("through kills, restarts and reorgs the folded streams are the chain, and nothing is read twice", { skip, timeout: 280_000 }, async (t) => {
  let [swaps, blocks, pools]: [List<Swap>, List<Block>, States<Pool>] = [emptyList(1), emptyList(1), emptyStates()];
  let [reads, troubles, retracts] = [0, 0, 0];
  let changed = () => {};
  const ids = (await engine.pools()).map(({ id }) => id);
  const stops = [
    engine.watchSwaps(
      {
        next(list, frame) {
          if (!frame) reads++;
          if (frame?.kind === "RETRACT" || frame?.kind === "ROLLBACK") retracts++;
          assert.equal(new Set(list.items.map(({ id }) => id)).size, list.items.length, "no id twice");
          swaps = list;
          console.log(`swaps at ${list.block?.hash}`);
          changed();
        },
        trouble: (error) => (troubles++, t.diagnostic(error.message)),
        failed,
      },
      { limit: 1_000_000 },
    ),
    engine.watchBlocks(
      {
        next(list) {
          for (const [index, block] of list.items.entries()) {
            const before = list.items[index - 1];
            if (before) assert.deepEqual([block.block.number, block.parentHash], [before.block.number + 1, before.id]);
          }
          blocks = list;
          changed();
        },
        failed,
      },
      { limit: 1_000 },
    ),
    engine.watchPools(ids, { next: (states) => ((pools = states), changed()), failed }),
  ];
  t.after(() => stops.forEach((stop) => stop()));
  // It is in the middle of things when the trouble begins.
  while (swaps.items.length === 0 || blocks.items.length === 0) await new Promise<void>((resolve) => (changed = resolve));
  console.log("following");

  const [line] = await new Promise<string[]>((resolve) => createInterface(process.stdin).once("line", (line) => resolve([line])));
  const hash = /^end (0x[0-9a-f]{64})$/.exec(line ?? "")?.[1];
  assert.ok(hash, `\`end HASH\` was expected, not ${line}`);
  const arrived = () => [swaps.block, blocks.block].every((block) => block?.hash === hash);
  while (!arrived()) await new Promise<void>((resolve) => (changed = resolve));

  const truth = await engine.swaps(1_000_000);
  assert.deepEqual(swaps.items.map(({ id }) => id), truth.map(({ id }) => id));
  assert.deepEqual(swaps.items, truth, "with all that is said of each");
  const chain = createPublicClient({ transport: http(RPC_URL) });
  const now = (await engine.pools()).filter(({ id }) => ids.includes(id));
  assert.ok(now.length > 0);
  // Each watch comes back in its own time.
  const content = (pool: Pool | undefined) => ({ ...pool, asOf: null });
  const differs = (pool: Pool) => !isDeepStrictEqual(content(pools.byId.get(pool.id)), content(pool));
  const limit = AbortSignal.timeout(60_000);
  while (now.some(differs)) {
    await new Promise<void>((resolve, reject) => {
      changed = resolve;
      limit.onabort = () => reject(new assert.AssertionError({ actual: [...pools.byId.values()], expected: now, message: "pools differ" }));
    });
  }
  for (const pool of now) assert.equal((await verifyPool(chain, pool)).kind, "EQUAL");
  t.diagnostic(`${truth.length} swaps, ${blocks.items.length} blocks, ${now.length} pools; ${troubles} troubles, ${retracts} taken back, ${reads} reads`);
  assert.equal(reads, 1, "it always went on from its cursor");
  assert.ok(troubles > 0 && retracts > 0, "the engine was killed, and the chain was reorganised");
});
