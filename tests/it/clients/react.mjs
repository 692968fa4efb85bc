// The React example in a real browser: node react.mjs CHROMIUM FOLDER PAGE ENGINE. One JSON line per event; examples.rs says what must be true.
//   shown      ids of the swaps that stand on the page, newest first, how many are struck through, and how many pools there are
//   console, pageerror   must not happen while the server is there
// It runs until it is killed.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';

import { openBrowser } from './browser_open.mjs';

const [executable, folder, built, engine] = process.argv.slice(2);
process.env.TMPDIR = folder; // the profile, and whatever else a browser leaves
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  const file = pathname === '/' ? 'index.html' : pathname.slice(1);
  response.setHeader('content-type', TYPES[extname(file)]);
  response.end(await readFile(join(built, file)));
});
await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });

const browser = await openBrowser(executable);
const page = await browser.newPage();
page.on('console', (message) => {
  if (['error', 'warning'].includes(message.type())) say({ event: 'console', text: message.text() });
});
page.on('pageerror', (error) => say({ event: 'pageerror', text: String(error) }));
await page.exposeFunction('report', (shown) => say({ event: 'shown', ...shown }));
await page.addInitScript(() => addEventListener('DOMContentLoaded', () => {
  const report = () => {
    const rows = [...document.querySelectorAll('#tape tbody tr')];
    const there = rows.filter((row) => row.dataset.retracted === 'false').map((row) => row.dataset.id);
    const pools = document.querySelectorAll('#pools tbody tr').length;
    globalThis.report({ there, gone: rows.length - there.length, pools });
  };
  new MutationObserver(report).observe(document.getElementById('root'), { childList: true, subtree: true, attributes: true });
}));
await page.goto(`http://127.0.0.1:${server.address().port}/?api=${engine}`);
