/**
 * Compares what the engine says with the chain, at the block that the engine names. A number is only comparable at one block, and a
 * height is not one block: every call here goes by the hash. What is absent: trust in either side. The node may have forgotten a
 * block that a reorg took; then there is nothing to compare with, and that is what the verdict says.
 */

import { BlockNotFoundError, decodeEventLog, parseAbi } from "viem";
import type { PublicClient } from "viem";

import type { BlockRef } from "./frame.ts";
import type { Pool, Swap } from "./wire.ts";

const V2_PAIR = parseAbi([
  "function getReserves() view returns (uint112 reserve0, uint112 reserve1, uint32 blockTimestampLast)",
  "event Swap(address indexed sender, uint256 amount0In, uint256 amount1In, uint256 amount0Out, uint256 amount1Out, address indexed to)",
]);
const V3_POOL = parseAbi([
  "function liquidity() view returns (uint128)",
  "function slot0() view returns (uint160 sqrtPriceX96, int24 tick, uint16 observationIndex, uint16 observationCardinality, uint16 observationCardinalityNext, uint8 feeProtocol, bool unlocked)",
  "event Swap(address indexed sender, address indexed recipient, int256 amount0, int256 amount1, uint160 sqrtPriceX96, uint128 liquidity, int24 tick)",
]);

export interface Difference {
  readonly field: string;
  readonly engine: bigint | number | null;
  readonly chain: bigint | number | null;
}

export type Verdict =
  | { readonly kind: "EQUAL"; readonly block: BlockRef; readonly fields: number }
  | { readonly kind: "DIFFERENT"; readonly block: BlockRef; readonly differences: readonly Difference[] }
  /** The block is not on the node's chain (any more). */
  | { readonly kind: "UNKNOWN"; readonly block: BlockRef };

/** Reserves of a V2 pool; price, tick and liquidity of a V3 pool: what the contract answers at `asOf`. */
export async function verifyPool(chain: PublicClient, pool: Pool): Promise<Verdict> {
  return atBlock(chain, pool.asOf, async () => {
    const at = { address: pool.id, blockHash: pool.asOf.hash };
    if (pool.protocol === "UNISWAP_V2") {
      const [reserve0, reserve1] = await chain.readContract({ ...at, abi: V2_PAIR, functionName: "getReserves" });
      return [difference("reserve0", pool.reserve0, reserve0), difference("reserve1", pool.reserve1, reserve1)];
    }
    const [slot0, liquidity] = await Promise.all([
      chain.readContract({ ...at, abi: V3_POOL, functionName: "slot0" }),
      chain.readContract({ ...at, abi: V3_POOL, functionName: "liquidity" }),
    ]);
    const [sqrtPrice, tick] = slot0;
    // A pool without a price has no tick: the contract says 0, the engine says null.
    const expectedTick = sqrtPrice === 0n ? null : tick;
    return [
      difference("sqrtPrice", pool.sqrtPrice, sqrtPrice),
      difference("tick", pool.tick, expectedTick),
      difference("liquidity", pool.liquidity, liquidity),
    ];
  });
}

/** The log that a swap was made from: same block, same place, same transaction, same amounts. */
export async function verifySwap(chain: PublicClient, swap: Swap): Promise<Verdict> {
  return atBlock(chain, swap.block, async () => {
    const logs = await chain.getLogs({ blockHash: swap.block.hash });
    const log = logs.find((candidate) => candidate.logIndex === swap.logIndex && candidate.transactionHash === swap.transaction);
    const found = difference("logIndex", swap.logIndex, log?.logIndex ?? null);
    if (!log) return [found];
    const { amount0, amount1 } = amounts(log);
    return [found, difference("amount0", swap.amount0Raw, amount0), difference("amount1", swap.amount1Raw, amount1)];
  });
}

/** From the pool's side, as the engine has them: V3 says it so, of V2 it is what went in less what came out. */
function amounts(log: { topics: [] | [`0x${string}`, ...`0x${string}`[]]; data: `0x${string}` }) {
  const { args } = decodeEventLog({ abi: [...V2_PAIR, ...V3_POOL], eventName: "Swap", topics: log.topics, data: log.data });
  if ("amount0" in args) return { amount0: args.amount0, amount1: args.amount1 };
  return { amount0: args.amount0In - args.amount0Out, amount1: args.amount1In - args.amount1Out };
}

function difference(field: string, engine: Difference["engine"], chain: Difference["chain"]) {
  return { field, engine, chain };
}

async function atBlock(chain: PublicClient, block: BlockRef, ask: () => Promise<Difference[]>): Promise<Verdict> {
  const different = (fields: readonly Difference[]) => fields.filter(({ engine, chain }) => engine !== chain);
  try {
    let fields = await ask();
    // The state of a block never changes, but nodes err: anvil answers with the next block's while that is being mined. What is
    // different is asked once more.
    if (different(fields).length > 0) fields = await ask();
    const differences = different(fields);
    if (differences.length === 0) return { kind: "EQUAL", block, fields: fields.length };
    // Some nodes answer for a block that is gone as if it had been empty.
    return (await isGone(chain, block)) ? { kind: "UNKNOWN", block } : { kind: "DIFFERENT", block, differences };
  } catch (error) {
    // Nodes say it in many ways that a block is gone. Asked for the block itself, viem knows.
    if (await isGone(chain, block)) return { kind: "UNKNOWN", block };
    throw error;
  }
}

/** Whether the node's chain is without this block: the hash unknown, or another one at its height. */
async function isGone(chain: PublicClient, block: BlockRef): Promise<boolean> {
  try {
    await chain.getBlock({ blockHash: block.hash });
    return (await chain.getBlock({ blockNumber: BigInt(block.number) })).hash !== block.hash;
  } catch (error) {
    if (error instanceof BlockNotFoundError) return true;
    throw error;
  }
}
