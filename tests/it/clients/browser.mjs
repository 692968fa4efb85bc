// The live page in a real browser: node browser.mjs CHROMIUM URL FOLDER [OUTAGES]. One JSON line per event; browser.rs says what must be true.
//   page      what a page shows, whenever that changes (four of them: desk, phone, dark, and late, whose subscriptions begin a block after it)
//   graphiql  what GraphiQL shows: the first answer of its first tab, then every new answer of the subscription's tab
//   docs      what the REST reference lists, on a desk and on a phone, and what it shows of a GET and a POST that it made
//   console, pageerror, foreign   must not happen (console: only while the server is away)
// It ends by itself when the server has gone for the second time, or as often as OUTAGES says.
import { openBrowser } from './browser_open.mjs';

const [executable, base, folder, outages = '2'] = process.argv.slice(2);
process.env.TMPDIR = folder; // the profile, and whatever else a browser leaves
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const own = new URL(base).host;
const host = (url) => new URL(url).host;

/** Runs in the page: everything it shows, with the exact values behind it and the text that people read. */
function observe(name) {
  const all = (selector, map, root = document) => [...root.querySelectorAll(selector)].map(map);
  const text = (node) => node?.innerText.replace(/\s+/g, ' ').trim() ?? null;
  const rgba = (color) => {
    const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const over = (top, under) => top.rgb.map((c, i) => c * top.a + under[i] * (1 - top.a));
  const background = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(rgba(getComputedStyle(at).backgroundColor));
    return layers.reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  /** The text that is hardest to read, by the contrast ratio of WCAG 2. */
  const hardest = () => {
    let worst = { ratio: 21, text: '' };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const element = node.parentElement;
      if (!node.data.trim() || !element.checkVisibility() || element.closest('.gone, .quiet')) continue;
      const under = background(element);
      const [x, y] = [luminance(over(rgba(getComputedStyle(element).color), under)), luminance(under)];
      const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
      if (ratio < worst.ratio) worst = { ratio, text: `${element.className || element.tagName}: ${node.data}` };
    }
    return worst;
  };
  const byTest = (id) => document.querySelector(`[data-testid="${id}"]`);
  const snapshot = () => ({
    state: byTest('state').dataset.state,
    stateText: text(byTest('state')),
    chain: byTest('chain').dataset.raw ?? null,
    head: { number: Number(byTest('head-number').dataset.raw), hash: byTest('head-hash').dataset.raw ?? null, text: text(byTest('head-number')) },
    banner: byTest('reorg-banner').checkVisibility() ? text(byTest('reorg-banner')) : null,
    blocks: all('[data-testid="block"]', (li) => ({ number: Number(li.dataset.number), hash: li.dataset.block, removed: li.dataset.removed === 'true' })),
    poolsCount: text(byTest('pools-count')),
    pools: all('[data-testid="pool"]', (tr) => {
      const cell = (field) => tr.querySelector(`[data-field="${field}"]`);
      const some = (value) => value || null;
      const { token0Price, token1Price } = cell('price').dataset;
      const { raw, reserve0, reserve1 } = cell('liquidity').dataset;
      return {
        id: tr.dataset.pool, protocol: tr.dataset.protocol, status: tr.dataset.status, asOf: Number(cell('asOf').dataset.raw),
        token0Price: some(token0Price), token1Price: some(token1Price),
        liquidity: raw.includes('/') ? null : raw, reserve0: some(reserve0), reserve1: some(reserve1),
        price: cell('price').dataset.raw, priceText: text(cell('price')), liquidityText: text(cell('liquidity')), name: text(tr.cells[0].querySelector('b')),
      };
    }),
    swaps: all('[data-testid="swap"]', (li) => ({
      id: li.dataset.swap, block: li.dataset.block, number: Number(li.dataset.number), removed: li.dataset.removed === 'true',
      amount0Raw: li.dataset.amount0, amount1Raw: li.dataset.amount1,
      struck: getComputedStyle(li.querySelector('.what')).textDecorationLine.includes('line-through'),
      sides: all('.what > span', (span) => ({ raw: span.dataset.raw, text: text(span) }), li),
    })),
    chart: {
      pool: byTest('chart').dataset.pool ?? null, interval: byTest('chart').dataset.interval ?? null, name: text(byTest('chart-name')),
      usd: byTest('chart-usd').dataset.raw ?? null, tvl: byTest('chart-tvl').dataset.raw ?? null, volume: byTest('chart-volume').dataset.raw ?? null,
      high: text(document.getElementById('chart-high')), low: text(document.getElementById('chart-low')),
      candles: all('[data-testid="candle"]', ({ dataset: { start, open, high, low, close } }) => ({ start: Number(start), open, high, low, close })),
    },
    layout: {
      width: innerWidth, scrollWidth: document.documentElement.scrollWidth, bodyWidth: document.body.scrollWidth,
      // The cells of the table that stick out of it: on a phone, what nobody sees without scrolling sideways.
      hidden: all('td', (td) => td).filter((td) => td.checkVisibility() && td.getBoundingClientRect().right > td.closest('.scroll').getBoundingClientRect().right + 1).length,
    },
    look: { background: luminance(background(document.body)), hardest: matchMedia('(prefers-reduced-motion: reduce)').matches ? hardest() : null },
  });
  let last = '';
  const report = () => {
    const now = JSON.stringify(snapshot());
    if (now !== last) globalThis.report(name, now);
    last = now;
  };
  addEventListener('DOMContentLoaded', () => {
    new MutationObserver(report).observe(document.documentElement, { subtree: true, childList: true, attributes: true, characterData: true });
    report();
  });
}

let gone = 0;
let ended;
const end = new Promise((resolve) => { ended = resolve; });

const browser = await openBrowser(executable);

async function openPage(name, options) {
  const context = await browser.newContext(options);
  await context.route('**/*', (route) => {
    const url = route.request().url();
    if (host(url) === own) return route.continue();
    say({ event: 'foreign', page: name, url });
    return route.abort();
  });
  // What never reaches the network because the page's policy forbids it is a message on the console.
  context.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) say({ event: 'console', page: name, text: message.text(), url: message.location().url });
  });
  context.on('weberror', (error) => say({ event: 'pageerror', page: name, text: String(error.error()) }));
  const page = await context.newPage();
  page.on('websocket', (socket) => {
    if (host(socket.url()) !== own) say({ event: 'foreign', page: name, url: socket.url() });
  });
  return page;
}

/** Runs in the page: what it subscribes to is held back until the chain has moved on. */
async function holdBack() {
  const send = WebSocket.prototype.send;
  let held = [];
  WebSocket.prototype.send = function later(message) {
    if (held && JSON.parse(message).type === 'subscribe') held.push(() => this.readyState === WebSocket.OPEN && send.call(this, message));
    else send.call(this, message);
  };
  const head = async () => {
    const response = await fetch('/graphql', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"query":"{ _meta { block { number } } }"}' });
    return (await response.json()).data._meta.block.number;
  };
  const first = await head();
  document.documentElement.dataset.held = first;
  while ((await head()) === first) await new Promise((resolve) => { setTimeout(resolve, 50); });
  held.forEach((one) => one());
  held = null;
}

async function openLive(name, options, first = () => {}) {
  const page = await openPage(name, options);
  let state;
  await page.exposeFunction('report', (from, snapshot) => {
    const shown = JSON.parse(snapshot);
    if (name === 'desk' && shown.state === 'OFFLINE' && state !== 'OFFLINE' && ++gone === Number(outages)) ended();
    state = shown.state;
    say({ event: 'page', page: from, ...shown });
  });
  await page.addInitScript(observe, name);
  await page.addInitScript(first);
  await page.goto(base);
  return page;
}

await openLive('desk', { viewport: { width: 1280, height: 900 }, colorScheme: 'light' });
const phone = await openLive('phone', { viewport: { width: 390, height: 844 }, colorScheme: 'light', isMobile: true, hasTouch: true, reducedMotion: 'reduce' });
// One whose price has more zeros than a number of JavaScript's is written with.
await phone.waitForSelector('[data-testid="pool"]');
const cheap = phone.locator('[data-testid="pool"]', { hasText: 'PEPE' }).first();
if (await cheap.count()) await cheap.getByRole('button').click();
await openLive('dark', { viewport: { width: 1280, height: 900 }, colorScheme: 'dark', reducedMotion: 'reduce' });
const late = await openLive('late', { viewport: { width: 1280, height: 900 }, colorScheme: 'dark' }, holdBack);
await late.waitForSelector('[data-held] [data-testid="block"]');

const graphiql = await openPage('graphiql', { viewport: { width: 1280, height: 900 } });
await graphiql.goto(`${base}graphiql`);
await graphiql.waitForSelector('.graphiql-execute-button');
const tabs = await graphiql.locator('.graphiql-tab-button').allInnerTexts();
/** GraphiQL reads the query of a new tab a moment after it shows it. */
const read = (name) => graphiql.waitForFunction(
  (expected) => document.querySelector('.graphiql-query-editor .CodeMirror')?.CodeMirror.operationName === expected, name,
);
await graphiql.locator('.graphiql-tab-button').first().click();
await read('Pools');
await graphiql.locator('.graphiql-execute-button').click();
const first = await graphiql.waitForFunction(() => {
  const text = document.querySelector('.result-window .CodeMirror')?.CodeMirror.getValue() ?? '';
  return /"(data|errors|message)"/.test(text) && text;
});
say({ event: 'graphiql', tabs, tab: tabs[0], result: JSON.parse(await first.jsonValue()) });

await graphiql.exposeFunction('answered', (text) => say({ event: 'graphiql', tab: 'SwapsLive', result: JSON.parse(text) }));
await graphiql.locator('.graphiql-tab-button', { hasText: 'SwapsLive' }).click();
await read('SwapsLive');
await graphiql.evaluate(() => {
  const editor = document.querySelector('.result-window .CodeMirror').CodeMirror;
  editor.on('change', () => editor.getValue().trim() && globalThis.answered(editor.getValue()));
});
await graphiql.locator('.graphiql-execute-button').click();
say({ event: 'graphiql', tab: 'SwapsLive', running: true });

for (const [name, options] of [['desk', { viewport: { width: 1280, height: 900 }, colorScheme: 'light' }], ['phone', { viewport: { width: 390, height: 844 }, colorScheme: 'dark', isMobile: true }]]) {
  const docs = await openPage('docs', options);
  await docs.goto(`${base}docs`);
  const call = async (id) => {
    const operation = docs.locator(id);
    await operation.locator('.opblock-summary-control').click();
    await operation.locator('.execute').click();
    const answer = operation.locator('.live-responses-table');
    const body = await answer.locator('.response-col_description code, .response-col_description pre').first().textContent();
    return { status: await answer.locator('.response-col_status').last().innerText(), body };
  };
  const [{ status, body }, posted] = [await call('#operations-pools-getPool'), await call('#operations-quotes-simulate')];
  const paths = await docs.locator('.opblock-summary-path').allInnerTexts();
  const layout = await docs.evaluate(() => ({ width: innerWidth, scrollWidth: document.documentElement.scrollWidth, background: getComputedStyle(document.body).backgroundColor }));
  say({ event: 'docs', name, paths: paths.map((path) => path.replace(/[\u200b\s]/g, '')), status, body, posted, layout });
}

await end;
await browser.close();
