// The strip of blocks, newest first, and the banner of a reorg.

import { byId, el, retract } from "./dom.js";
import { ago, blockNumber, shortHash } from "./format.js";

const SHOWN = 40;
const BANNER_MS = 8_000;

export class Blocks {
  #tiles = new Map();
  #strip = byId("blocks");
  #banner = byId("banner");
  #timer = null;

  constructor(onHead) {
    this.onHead = onHead;
    setInterval(() => this.#tick(), 1_000);
  }

  clear() {
    this.#tiles.clear();
    this.#strip.replaceChildren();
  }

  /** A frame of the `blocks` subscription. */
  apply({ kind, block, data }) {
    if (kind === "RETRACT") {
      for (const gone of data) {
        const tile = this.#tiles.get(gone.hash);
        if (tile) retract(tile);
        this.#tiles.delete(gone.hash);
      }
      this.#announce(data.length, block.number);
    } else if (kind === "ROLLBACK") {
      this.#dropAbove(block.number);
    } else {
      data.forEach((one) => this.add(one));
    }
    this.onHead(block);
  }

  add(block) {
    if (this.#tiles.has(block.hash)) return;
    const tile = el(
      "li",
      { class: "new", "data-testid": "block", "data-block": block.hash, "data-number": block.number, title: block.hash },
      el("b", {}, blockNumber(block.number)),
      el("code", {}, shortHash(block.hash)),
      el("small", { "data-time": block.timestamp }, ago(block.timestamp)),
    );
    this.#tiles.set(block.hash, tile);
    const older = [...this.#strip.children].find((one) => Number(one.dataset.number) <= block.number);
    this.#strip.insertBefore(tile, older ?? null);
    while (this.#tiles.size > SHOWN) {
      const oldest = this.#strip.lastElementChild;
      oldest.remove();
      // One that was taken back may be there again, and its old tile still on its way out.
      if (this.#tiles.get(oldest.dataset.block) === oldest) this.#tiles.delete(oldest.dataset.block);
    }
  }

  #dropAbove(number) {
    let dropped = 0;
    for (const [hash, tile] of this.#tiles) {
      if (Number(tile.dataset.number) <= number) continue;
      retract(tile);
      this.#tiles.delete(hash);
      dropped += 1;
    }
    if (dropped) this.#announce(dropped, number);
  }

  #announce(count, number) {
    clearTimeout(this.#timer);
    this.#banner.textContent = `Reorg: ${count} ${count === 1 ? "block" : "blocks"} taken back, down to block ${blockNumber(number)}`;
    this.#banner.dataset.blocks = count;
    this.#banner.hidden = false;
    this.#timer = setTimeout(() => { this.#banner.hidden = true; }, BANNER_MS);
  }

  #tick() {
    for (const time of document.querySelectorAll("[data-time]")) time.textContent = ago(Number(time.dataset.time));
  }
}
