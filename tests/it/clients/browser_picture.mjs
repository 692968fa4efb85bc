// Takes a picture of the live page: node browser_picture.mjs CHROMIUM URL FILE [WIDTHxHEIGHT] [light|dark] [reorg]
// With `reorg` it waits until one is announced, so start it while the demo runs.
import { openBrowser } from './browser_open.mjs';

const [executable, url, file, size = '1280x900', colorScheme = 'light', wait] = process.argv.slice(2);
const [width, height] = size.split('x').map(Number);
const browser = await openBrowser(executable);
const phone = width < 600;
const context = await browser.newContext({ viewport: { width, height }, colorScheme, isMobile: phone, hasTouch: phone, deviceScaleFactor: phone ? 2 : 1 });
const page = await context.newPage();
await page.goto(url);
await page.waitForSelector('[data-testid=state][data-state=LIVE]');
await page.waitForFunction(() => document.querySelectorAll('[data-testid=block]').length > 8 && document.querySelector('[data-testid=swap]'), null, { timeout: 60_000 });
if (wait) {
  await page.waitForSelector('[data-testid=reorg-banner]:not([hidden])', { timeout: 120_000 });
  await page.waitForSelector('[data-testid=block][data-removed]', { timeout: 10_000 });
}
await page.waitForFunction(() => document.getAnimations().every((a) => a.animationName !== 'arrive' || a.playState === 'finished'));
await page.screenshot({ path: file });
await browser.close();
