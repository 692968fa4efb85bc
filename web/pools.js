// The table of pools: one row each, updated in place, with a flash where something changed.

import { byId, el } from "./dom.js";
import { blockNumber, compare, fee, human, scale, symbol } from "./format.js";

export const POOL_FIELDS = `id protocol feeTier status liquidity reserve0 reserve1 token0Price token1Price
  token0 { id symbol decimals } token1 { id symbol decimals } asOf { number hash }`;

/** What people price other things in, in this order. */
const MONEY = ["USDC", "USDT", "DAI", "USD", "WETH", "ETH", "WBTC"];

/** Which of the pool's two tokens is priced, and in which: `[base, quote, priceField]`. */
function direction(pool) {
  const rank = (token) => (MONEY.indexOf(token.symbol) + MONEY.length + 1) % (MONEY.length + 1);
  // token1Price is token1 per token0: what one token0 costs.
  return rank(pool.token1) <= rank(pool.token0) ? [pool.token0, pool.token1, "token1Price"] : [pool.token1, pool.token0, "token0Price"];
}

export class Pools {
  #rows = new Map();
  #picked = null;

  /** `onPick(pool, direction)` when somebody wants to see a pool's chart. */
  constructor(onPick) {
    this.onPick = onPick;
  }

  #body = byId("pools");

  get ids() {
    return [...this.#rows.keys()];
  }

  /** The list as it is now: rows that are not in it go. */
  reset(pools, total) {
    const ids = new Set(pools.map((p) => p.id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.tr.remove();
      this.#rows.delete(id);
    }
    pools.forEach((pool) => this.set(pool));
    byId("pools-count").textContent = total > pools.length ? `the first ${pools.length} of ${total}` : `${total}`;
    this.#empty();
  }

  /** A frame of `onPoolUpdated`: the new state also where it is a RETRACT; nothing where there is no such pool any more. */
  apply({ topic, data }) {
    if (data.length) return data.forEach((pool) => this.set(pool));
    const id = topic.split(":").pop();
    this.#rows.get(id)?.tr.remove();
    this.#rows.delete(id);
    this.#empty();
  }

  /** Shows a pool's chart; the first one with a price where that one is not there. */
  pick(id) {
    const rows = [...this.#rows.values()];
    const row = this.#rows.get(id) ?? rows.find((one) => one.pool.token1Price !== null);
    if (!row) return;
    this.#picked = row.pool.id;
    rows.forEach((one) => one.tr.setAttribute("aria-current", String(one === row)));
    this.onPick(row.pool, direction(row.pool));
  }

  /** The pool whose chart is shown, as far as it is still there. */
  get picked() {
    return this.#rows.has(this.#picked) ? this.#picked : null;
  }

  set(pool) {
    const row = this.#rows.get(pool.id) ?? this.#create(pool);
    const [base, quote, field] = direction(pool);
    const price = pool[field];
    row.pool = pool;
    row.tr.dataset.status = pool.status;
    row.tr.dataset.asOf = pool.asOf.number;
    Object.assign(row.price.dataset, { token0Price: pool.token0Price ?? "", token1Price: pool.token1Price ?? "" });
    this.#write(row.price, price, price === null ? [none("no price")] : [
      el("b", {}, human(price)), " ", el("span", { class: "sub unit" }, `${symbol(quote)} per ${symbol(base)}`),
    ]);
    row.liquidity.dataset.reserve0 = pool.reserve0 ?? "";
    row.liquidity.dataset.reserve1 = pool.reserve1 ?? "";
    this.#write(row.liquidity, pool.liquidity ?? `${pool.reserve0}/${pool.reserve1}`, this.#liquidity(pool));
    row.asOf.dataset.raw = pool.asOf.number;
    row.asOf.textContent = pool.status === "LIVE" ? blockNumber(pool.asOf.number) : `${pool.status.toLowerCase()} at ${blockNumber(pool.asOf.number)}`;
  }

  #liquidity(pool) {
    if (pool.liquidity !== null) return [el("span", {}, human(pool.liquidity), " ", el("span", { class: "sub", title: "in-range liquidity, as the contract counts it" }, "L"))];
    const side = (token, raw) => {
      const amount = scale(raw, token.decimals);
      return amount === null ? none(`${symbol(token)} ?`) : el("span", {}, human(amount), " ", el("span", { class: "sub" }, symbol(token)));
    };
    return [side(pool.token0, pool.reserve0), el("span", { class: "dot-between" }, " · "), side(pool.token1, pool.reserve1)];
  }

  /** Writes a cell and flashes it where its exact value changed. */
  #write(cell, raw, content) {
    const before = cell.dataset.raw;
    const now = raw ?? "";
    if (before === now) return;
    cell.dataset.raw = now;
    cell.replaceChildren(...content);
    if (before === undefined) return;
    const plain = /^\d+(\.\d+)?$/;
    const order = plain.test(before) && plain.test(now) ? compare(now, before) : 0;
    cell.removeAttribute("data-flash");
    void cell.offsetWidth; // the same animation starts again
    cell.dataset.flash = order > 0 ? "up" : order < 0 ? "down" : "same";
  }

  #create(pool) {
    const price = el("td", { class: "num", "data-field": "price" });
    const liquidity = el("td", { class: "num", "data-field": "liquidity" });
    const asOf = el("td", { class: "num sub", "data-field": "asOf" });
    const pick = el("button", { type: "button", class: "pick" }, el("span", { class: "pair", title: pool.id },
      el("b", {}, el("bdi", {}, symbol(pool.token0)), " / ", el("bdi", {}, symbol(pool.token1))),
      el("span", { class: "tag" }, pool.protocol.replace("UNISWAP_", "")),
      el("span", { class: "sub" }, fee(pool.feeTier))));
    pick.addEventListener("click", () => this.pick(pool.id));
    const name = el("td", {}, pick);
    const tr = el("tr", { "data-testid": "pool", "data-pool": pool.id, "data-protocol": pool.protocol }, name, price, liquidity, asOf);
    this.#body.append(tr);
    const row = { tr, price, liquidity, asOf, pool };
    this.#rows.set(pool.id, row);
    this.#empty();
    return row;
  }

  #empty() {
    byId("pools-empty").textContent = "No pool yet. The first one shows up here as soon as a factory creates it.";
    byId("pools-empty").hidden = this.#rows.size > 0;
  }
}

const none = (text) => el("span", { class: "none" }, text);
