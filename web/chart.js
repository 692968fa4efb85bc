// One pool's candles as a picture, with what it is worth beside them. Numbers stay the exact strings of the server; only where a line is
// drawn they become floats.

import { query } from "./client.js";
import { byId, el } from "./dom.js";
import { compare, human, symbol } from "./format.js";

const SHOWN = 90;
const INTERVALS = { S5: "5s", M1: "1m", M5: "5m", H1: "1h", D1: "1d" };
/** With fewer minutes than this, seconds say more. */
const FEW = 12;
const CANDLE = "start open high low close volumeUSD closed";
const WIDTH = 900;
const HEIGHT = 260;
const PAD = 12;
const RETRY_MS = 2_000;

const svg = (name, attributes, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};

export class Chart {
  #pool = null;
  #interval = "M1";
  #candles = [];
  #client = null;
  /** Somebody chose the interval; until then it is one that shows something. */
  #chosen = false;
  #end = () => {};
  /** Counts what was asked for: an answer to an earlier question is not shown. */
  #asked = 0;
  #box = byId("chart");

  constructor() {
    for (const [interval, label] of Object.entries(INTERVALS)) {
      const button = el("button", { type: "button", "data-interval": interval, "aria-pressed": String(interval === this.#interval) }, label);
      button.addEventListener("click", () => {
        this.#chosen = true;
        this.#choose(interval);
      });
      byId("intervals").append(button);
    }
  }

  get pool() {
    return this.#pool?.id ?? null;
  }

  /** `direction` says which token is priced, and in which. */
  show(client, pool, direction) {
    const [base, quote, field] = direction;
    this.#client = client;
    this.#pool = { id: pool.id, base, quote, invert: field === "token0Price" };
    byId("chart-name").replaceChildren(el("bdi", {}, symbol(base)), " in ", el("bdi", {}, symbol(quote)));
    this.#box.dataset.pool = pool.id;
    byId("chart-card").hidden = false;
    this.#load();
  }

  /** The pool is gone, or nobody is connected: what is shown stays, and is marked as old. */
  hide() {
    this.#end();
    this.#end = () => {};
    this.#asked += 1;
  }

  clear() {
    this.hide();
    this.#pool = null;
    byId("chart-card").hidden = true;
  }

  #choose(interval) {
    this.#interval = interval;
    for (const button of byId("intervals").children) button.setAttribute("aria-pressed", String(button.dataset.interval === interval));
    if (this.#pool) this.#load();
  }

  /** First what there is, then what changes: each frame replaces all candles from its `from` on. */
  async #load() {
    this.hide();
    const [mine, { id, invert }, interval] = [this.#asked, this.#pool, this.#interval];
    let waiting = [];
    const text = `subscription ($pool: ID!) { onCandlesUpdated(pool: $pool, interval: ${interval}, invert: ${invert}) { from data { ${CANDLE} } } }`;
    // Whoever restarted the connection here would take the whole page along with its chart.
    const again = () => mine === this.#asked && setTimeout(() => mine === this.#asked && this.#pool && this.#load(), RETRY_MS);
    const frame = ({ data, errors }) => {
      if (mine !== this.#asked) return;
      if (errors || !data) return again();
      if (waiting) waiting.push(data.onCandlesUpdated);
      else this.#apply(data.onCandlesUpdated);
    };
    this.#end = this.#client.subscribe(text, { pool: id }, { next: frame, error: again });
    try {
      const { data } = await query(`query ($pool: ID!) { pool(id: $pool) { candles(interval: ${interval}, first: ${SHOWN}, invert: ${invert}) { ${CANDLE} } } }`, { pool: id });
      if (mine !== this.#asked) return;
      this.#candles = data.pool?.candles ?? [];
      if (!this.#chosen && interval === "M1" && this.#candles.length < FEW) return this.#choose("S5");
      waiting.forEach((one) => this.#apply(one));
      waiting = null;
      this.#draw();
      await this.facts();
    } catch {
      again();
    }
  }

  #apply({ from, data }) {
    this.#candles = [...this.#candles.filter((candle) => candle.start < from), ...data].slice(-SHOWN);
    this.#draw();
  }

  /** What the pool is worth and did: changes with every block. */
  async facts() {
    const [mine, pool] = [this.#asked, this.#pool];
    if (!pool) return;
    const { data } = await query(`query ($pool: ID!) { pool(id: $pool) { totalValueLockedUSD stats(window: H24) { volumeUSD txCount }
      token0 { id priceUSD { value } } token1 { id priceUSD { value } } } }`, { pool: pool.id });
    if (mine !== this.#asked || !data.pool) return;
    const token = [data.pool.token0, data.pool.token1].find((one) => one.id === pool.base.id);
    const dollars = (id, value) => {
      byId(id).dataset.raw = value ?? "";
      byId(id).textContent = value === null ? "–" : `$${human(value)}`;
    };
    dollars("chart-usd", token.priceUSD.value);
    dollars("chart-tvl", data.pool.totalValueLockedUSD);
    dollars("chart-volume", data.pool.stats.volumeUSD);
  }

  #draw() {
    const candles = this.#candles.filter((candle) => candle.open !== null);
    // The strings of the server: a number of JavaScript's writes a small price as 5e-9.
    const extreme = (name, sign) => candles.map((candle) => candle[name]).reduce((a, b) => (compare(a, b) * sign >= 0 ? a : b), candles[0]?.[name]);
    const [highest, lowest] = [extreme("high", 1), extreme("low", -1)];
    const [most, least] = [Number(highest), Number(lowest)];
    const span = most - least || Math.abs(most) || 1;
    const y = (price) => PAD + (1 - (Number(price) - least) / span) * (HEIGHT - 2 * PAD);
    const step = (WIDTH - 2 * PAD) / Math.max(candles.length, 30);
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    candles.forEach((candle, i) => {
      const x = WIDTH - PAD - (candles.length - i) * step;
      const [open, close] = [y(candle.open), y(candle.close)];
      const one = svg("g", { class: open < close ? "down" : "up", "data-testid": "candle" });
      for (const name of ["start", "open", "high", "low", "close"]) one.dataset[name] = candle[name];
      one.append(
        svg("line", { x1: x + step / 2, x2: x + step / 2, y1: y(candle.high), y2: y(candle.low) }),
        svg("rect", { x: x + step * 0.15, width: step * 0.7, y: Math.min(open, close), height: Math.max(1, Math.abs(open - close)) }),
      );
      picture.append(one);
    });
    this.#box.dataset.interval = this.#interval;
    this.#box.replaceChildren(picture);
    const last = candles.at(-1);
    byId("chart-empty").hidden = candles.length > 0;
    byId("chart-price").textContent = last ? human(last.close) : "–";
    byId("chart-high").textContent = last ? human(highest) : "";
    byId("chart-low").textContent = last ? human(lowest) : "";
    this.#box.setAttribute("aria-label", last ? `${candles.length} candles; the price is ${human(last.close)}` : "no candles yet");
  }
}
