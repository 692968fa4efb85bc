/**
 * The documents that are asked, and what their answers become. `BigInt` of the schema becomes `bigint`, as viem has it; `BigDecimal`
 * stays the decimal string it is. Nothing that is money is ever a `number`. The engine's schema is what makes the types true; they
 * are written by hand because there are few. A larger app would generate them from `/schema.graphql`.
 */

import type { BlockRef, Frame, FrameKind } from "./frame.ts";
import type { Item } from "./reducer.ts";

export type Address = `0x${string}`;
export type Protocol = "UNISWAP_V2" | "UNISWAP_V3";
/** How new the engine says its newest block is. */
export type Freshness = "LIVE" | "DELAYED" | "STALE";

/** Anybody may call a token USDC: go by the address. */
export interface Token {
  readonly id: Address;
  readonly symbol: string | null;
  readonly decimals: number | null;
}

export interface Pool {
  readonly id: Address;
  readonly protocol: Protocol;
  /** Hundredths of a basis point: 3000 is 0.30 %. */
  readonly feeTier: number;
  readonly token0: Token;
  readonly token1: Token;
  /** token0 per token1: what one token1 costs. */
  readonly token0Price: string | null;
  readonly token1Price: string | null;
  /** V2, raw units. */
  readonly reserve0: bigint | null;
  readonly reserve1: bigint | null;
  /** V3, as `slot0()` and `liquidity()` answer. */
  readonly sqrtPrice: bigint | null;
  readonly tick: number | null;
  readonly liquidity: bigint | null;
  readonly status: "LIVE" | "REBUILDING" | "FAULTED";
  readonly asOf: BlockRef;
}

/** Amounts are from the pool's side: positive into it, negative out of it. */
export interface Swap extends Item {
  readonly block: BlockRef;
  readonly transaction: `0x${string}`;
  /** Null only where the pool is not known any more. */
  readonly pool: { readonly id: Address; readonly protocol: Protocol; readonly feeTier: number } | null;
  readonly token0: Token | null;
  readonly token1: Token | null;
  /** In the token's own unit; null where its decimals are not known. */
  readonly amount0: string | null;
  readonly amount1: string | null;
  /** Exact, in raw units. */
  readonly amount0Raw: bigint | null;
  readonly amount1Raw: bigint | null;
}

/** A block as a member of a list. */
export interface Block extends Item {
  readonly block: BlockRef;
  readonly parentHash: `0x${string}` | null;
}

export interface Meta {
  readonly chainId: number;
  readonly deployment: string;
  readonly freshness: Freshness;
  readonly finalizedBlock: number;
  /** Null before the first one arrived. */
  readonly block: BlockRef | null;
}

/** What an answer is about: in `extensions` of every one. */
export interface AsOf extends Omit<BlockRef, "timestamp"> {
  readonly chainId: number;
  readonly freshness: Freshness;
}

type Wire<T, Raw extends keyof T> = { readonly [K in keyof T]: K extends Raw ? string | null : T[K] };
export type WirePool = Wire<Pool, "reserve0" | "reserve1" | "sqrtPrice" | "liquidity">;
export type WireSwap = Omit<Wire<Swap, "amount0Raw" | "amount1Raw">, "transaction"> & {
  readonly transaction: { readonly id: `0x${string}` };
};
export type WireBlock = BlockRef & { readonly parentHash: `0x${string}` | null };
/** The one field of a subscription's answer, by its name. */
export type WireFrame<T> = Readonly<Record<string, Frame<T> & { readonly kind: FrameKind }>>;

const raw = (text: string | null): bigint | null => (text === null ? null : BigInt(text));

export function toPool(pool: WirePool): Pool {
  return {
    ...pool,
    reserve0: raw(pool.reserve0),
    reserve1: raw(pool.reserve1),
    sqrtPrice: raw(pool.sqrtPrice),
    liquidity: raw(pool.liquidity),
  };
}

export function toSwap(swap: WireSwap): Swap {
  return { ...swap, transaction: swap.transaction.id, amount0Raw: raw(swap.amount0Raw), amount1Raw: raw(swap.amount1Raw) };
}

export function toBlock({ parentHash, ...block }: WireBlock): Block {
  return { id: block.hash, block, parentHash, logIndex: 0 };
}

const TOKEN = "id symbol decimals";
const BLOCK = "number hash timestamp";
const POOL = `id protocol feeTier token0 { ${TOKEN} } token1 { ${TOKEN} } token0Price token1Price reserve0 reserve1 sqrtPrice tick
  liquidity status asOf { ${BLOCK} }`;
const SWAP = `id logIndex block { ${BLOCK} } transaction { id } pool { id protocol feeTier } token0 { ${TOKEN} } token1 { ${TOKEN} }
  amount0 amount1 amount0Raw amount1Raw`;
const META = `_meta { chainId deployment freshness finalizedBlock block { ${BLOCK} } }`;
const FRAME = `topic seq kind cursor block { ${BLOCK} }`;

export const QUERY_META = `{ ${META} }`;
export const QUERY_POOLS = `query Pools($after: Cursor) {
  pools(first: 1000, after: $after) { nodes { ${POOL} } pageInfo { hasNextPage endCursor } }
}`;
export const QUERY_SWAPS = `query Swaps($first: Int!, $after: Cursor, $where: SwapWhere) {
  swaps(first: $first, after: $after, orderDirection: desc, where: $where) { nodes { ${SWAP} } pageInfo { hasNextPage endCursor } }
}`;
export const ON_SWAPS = `subscription Swaps($where: SwapWhere, $after: Cursor) {
  onSwapsCreated(where: $where, resumeFrom: $after) { ${FRAME} data { ${SWAP} } }
}`;
export const ON_POOLS = `subscription Pools($ids: [ID!]!) { onPoolUpdated(ids: $ids) { ${FRAME} data { ${POOL} } } }`;
export const ON_BLOCKS = `subscription Blocks($after: Cursor) {
  blocks(resumeFrom: $after) { ${FRAME} data { ${BLOCK} parentHash } }
}`;
