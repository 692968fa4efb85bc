// lightweight-charts, driven through the datafeed as TradingView's own library would drive it.
//   ?api=http://127.0.0.1:8080&chain=31337&pool=0x…&resolution=1

import { CandlestickSeries, createChart } from "lightweight-charts";
import { Datafeed } from "./datafeed.js";

const asked = new URLSearchParams(location.search);
const [api, chain] = [asked.get("api") ?? "http://127.0.0.1:8080", asked.get("chain") ?? "31337"];
const resolution = asked.get("resolution") ?? "1";
const WEEK_S = 604_800;
const SHOWN = 500;

const say = (text) => { document.getElementById("title").textContent = text; };
const feed = new Datafeed(api, chain);
const chart = createChart(document.getElementById("chart"), { autoSize: true, timeScale: { timeVisible: true, secondsVisible: resolution.endsWith("S") } });
const series = chart.addSeries(CandlestickSeries);
const second = (bar) => ({ ...bar, time: bar.time / 1000 });

/** The first pool that there is, where none is named. */
async function firstPool() {
  const response = await fetch(`${api}/v1/${chain}/pools?limit=1`);
  return (await response.json()).data[0]?.id;
}

function load(symbol) {
  const to = Math.floor(Date.now() / 1000) + WEEK_S;
  return new Promise((resolve, reject) => {
    feed.getBars(symbol, resolution, { from: 0, to, countBack: SHOWN, firstDataRequest: true }, resolve, reject);
  });
}

async function show(ticker) {
  const symbol = await new Promise((resolve, reject) => feed.resolveSymbol(ticker, resolve, reject));
  say(`${symbol.name} · ${symbol.exchange}`);
  series.applyOptions({ priceFormat: { type: "price", precision: Math.log10(symbol.pricescale), minMove: 1 / symbol.pricescale } });
  let bars = [];
  const draw = () => {
    series.setData(bars.map(second));
    // For whoever looks at the page from outside: a test, a tool.
    document.getElementById("chart").dataset.bars = JSON.stringify(bars);
  };
  // Ticks that come while bars are read are laid over them.
  let [waiting, reading] = [[], null];
  const lay = (bar) => { bars = [...bars.filter((one) => one.time < bar.time), bar]; };
  const read = async () => {
    const mine = (reading = {});
    const found = await load(symbol).catch((error) => (say(`${symbol.name}: ${error}`), null));
    if (mine !== reading) return;
    reading = null;
    if (found) bars = found;
    waiting.splice(0).forEach(lay);
    draw();
  };
  const tick = (bar) => {
    if (reading) return waiting.push(bar);
    lay(bar);
    draw();
  };
  feed.subscribeBars(symbol, resolution, tick, "chart", () => { waiting = []; read(); });
  await read();
  chart.timeScale().fitContent();
}

feed.onReady(async () => {
  const pool = asked.get("pool") ?? (await firstPool().catch(() => null));
  if (!pool) return say(`no pool at ${api}: is the server running?`);
  show(pool).catch((error) => say(String(error)));
});
