// Swaps as they come, newest first; what a reorg takes back is struck through, then removed.

import { byId, el, retract } from "./dom.js";
import { ago, blockNumber, fee, human, symbol } from "./format.js";

export const SWAP_FIELDS = `id logIndex timestamp amount0 amount1 amount0Raw amount1Raw block { number hash }
  token0 { id symbol } token1 { id symbol } pool { id protocol feeTier }`;

const SHOWN = 60;

/** Where it is in the chain: later is more. */
const place = (swap) => swap.block.number * 1e6 + swap.logIndex;

export class Swaps {
  #items = new Map();
  #list = byId("swaps");

  /** The newest swaps as they are now; what is not among them was taken back while nobody looked. */
  reset(swaps) {
    this.#items.clear();
    this.#list.replaceChildren();
    swaps.forEach((swap) => this.#add(swap, false));
    this.#trim();
  }

  /** A frame of `onSwapsCreated`. */
  apply({ kind, block, data }) {
    if (kind === "RETRACT") data.forEach((swap) => this.#remove(swap.id));
    else if (kind === "ROLLBACK") {
      for (const [id, { swap }] of this.#items) if (swap.block.number > block.number) this.#remove(id);
    } else data.forEach((swap) => this.#add(swap, true));
    this.#trim();
  }

  #remove(id) {
    const item = this.#items.get(id);
    if (item) retract(item.node);
    this.#items.delete(id);
  }

  #add(swap, fresh) {
    if (this.#items.has(swap.id)) return;
    const node = this.#render(swap, fresh);
    this.#items.set(swap.id, { swap, node });
    const older = [...this.#list.children].find((one) => Number(one.dataset.place) <= place(swap));
    this.#list.insertBefore(node, older ?? null);
  }

  #render(swap, fresh) {
    const sides = [
      { token: swap.token0, amount: swap.amount0, raw: swap.amount0Raw },
      { token: swap.token1, amount: swap.amount1, raw: swap.amount1Raw },
    ];
    // Positive is into the pool: what was given.
    const [given, taken] = (swap.amount0Raw ?? "").startsWith("-") ? [sides[1], sides[0]] : sides;
    const size = ({ amount, raw, token }) => {
      const text = amount === null ? "?" : human(amount.replace("-", ""));
      return el("span", { "data-raw": raw ?? "" }, text, " ", el("bdi", {}, symbol(token)));
    };
    return el(
      "li",
      { class: fresh ? "new" : "", "data-testid": "swap", "data-swap": swap.id, "data-block": swap.block.hash, "data-number": swap.block.number,
        "data-place": place(swap), "data-amount0": swap.amount0Raw, "data-amount1": swap.amount1Raw },
      el("span", { class: "what" }, size(given), el("i", { "aria-label": "for" }, "→"), size(taken)),
      el("span", { class: "when", "data-time": swap.timestamp }, ago(swap.timestamp)),
      el("span", { class: "where" }, swap.pool ? `${swap.pool.protocol.replace("UNISWAP_", "")} ${fee(swap.pool.feeTier)}` : ""),
      el("span", { class: "when" }, `#${blockNumber(swap.block.number)}`),
    );
  }

  #trim() {
    while (this.#items.size > SHOWN) {
      const oldest = this.#list.lastElementChild;
      oldest.remove();
      // One that was taken back may be there again, and its old line still on its way out.
      if (this.#items.get(oldest.dataset.swap)?.node === oldest) this.#items.delete(oldest.dataset.swap);
    }
    byId("swaps-empty").textContent = "No swap yet.";
    byId("swaps-empty").hidden = this.#items.size > 0;
  }
}
