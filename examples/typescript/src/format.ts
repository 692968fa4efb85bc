/** Numbers for people, made from decimal strings without a float in between. */

import type { Pool, Swap, Token } from "./wire.ts";

/**
 * The first `digits` significant digits, cut and not rounded, with thousands separated: `2988.587086…` is `2,988.58`. Digits before
 * the point are never dropped.
 */
export function short(decimal: string, digits = 6): string {
  const sign = decimal.startsWith("-") ? "-" : "";
  const [whole = "0", fraction = ""] = decimal.slice(sign.length).split(".");
  const leading = whole === "0" ? (/^0*/.exec(fraction)?.[0].length ?? 0) : 0;
  const places = whole === "0" ? leading + digits : Math.max(0, digits - whole.length);
  const rest = fraction.slice(0, places).replace(/0+$/, "");
  return `${sign}${whole.replace(/\B(?=(\d{3})+$)/g, ",")}${rest ? `.${rest}` : ""}`;
}

/** Symbols are what the contract says, control characters included: those would write on the reader's terminal. */
export function symbol(token: Token | null): string {
  const text = (token?.symbol ?? "").replace(/[\p{C}\p{Z}]/gu, "").slice(0, 12);
  return text || token?.id.slice(0, 8) || "?";
}

export function fee({ feeTier }: Pick<Pool, "feeTier">): string {
  return `${(feeTier / 10_000).toFixed(2)} %`;
}

export function kind({ protocol }: Pick<Pool, "protocol">): string {
  return protocol.replace("UNISWAP_", "");
}

/** `2,988.58 USDC per WETH`: of the two directions the one with a price of at least one, which is easier to read. */
export function price(pool: Pool): string {
  const { token0, token1, token0Price, token1Price } = pool;
  if (token0Price === null || token1Price === null) return "no price";
  const large = !token0Price.startsWith("0.");
  return large
    ? `${short(token0Price)} ${symbol(token0)} per ${symbol(token1)}`
    : `${short(token1Price)} ${symbol(token1)} per ${symbol(token0)}`;
}

/** `0.11152 WETH → 36.8718 USDC`, as the trader sees it: what is positive went into the pool. */
export function trade(swap: Swap): string {
  const zero = { token: swap.token0, amount: swap.amount0, raw: swap.amount0Raw };
  const one = { token: swap.token1, amount: swap.amount1, raw: swap.amount1Raw };
  const [given, taken] = (swap.amount0Raw ?? 0n) < 0n ? [one, zero] : [zero, one];
  const side = ({ token, amount, raw }: typeof zero) => {
    const size = amount === null ? `${raw ?? "?"} raw` : short(amount);
    return `${size.replace("-", "")} ${symbol(token)}`;
  };
  return `${side(given)} → ${side(taken)}`;
}
