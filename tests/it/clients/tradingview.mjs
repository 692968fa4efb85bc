// examples/tradingview in a real browser: node tradingview.mjs CHROMIUM FOLDER QUERY. One JSON line per event; tradingview.rs says what must be true.
//   bars       what the chart was given, whenever that changes
//   console, pageerror   must not happen while the server is there
// It ends by itself when the server has gone for the second time.
import { openBrowser } from './browser_open.mjs';

const [executable, folder, query] = process.argv.slice(2);
process.env.TMPDIR = folder; // the profile, and whatever else a browser leaves
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// In this very process, so that it never outlives it; it says where it serves.
const base = await new Promise((resolve) => {
  process.argv = [process.execPath, 'serve.js', '0', process.env.PARTS];
  console.log = resolve;
  import('../../../examples/tradingview/serve.js');
});

let gone = 0;
let ended;
const end = new Promise((resolve) => { ended = resolve; });
const browser = await openBrowser(executable);
const page = await browser.newPage();
page.on('websocket', (socket) => {
  let heard = false; // one that was refused is no server that has gone
  socket.on('framereceived', () => { heard = true; });
  socket.on('close', () => heard && ++gone === 2 && ended());
});
page.on('console', (message) => {
  if (['error', 'warning'].includes(message.type())) say({ event: 'console', text: message.text() });
});
page.on('pageerror', (error) => say({ event: 'pageerror', text: String(error) }));
await page.exposeFunction('report', (bars, title) => say({ event: 'bars', bars: JSON.parse(bars), title }));
await page.addInitScript(() => addEventListener('DOMContentLoaded', () => {
  const chart = document.getElementById('chart');
  const report = () => globalThis.report(chart.dataset.bars, document.getElementById('title').textContent);
  new MutationObserver(report).observe(chart, { attributeFilter: ['data-bars'] });
}));
await page.goto(`${base}?${query}`);
await end;
await browser.close();
process.exit();
