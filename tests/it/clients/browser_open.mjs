// Starts a headless Chromium that reaches nothing but this machine, with an empty profile.
import { createRequire } from 'node:module';

const { chromium } = createRequire(`${process.env.PARTS}/index.js`)('playwright-core');

export const openBrowser = (executablePath) =>
  chromium.launch({
    executablePath,
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--no-proxy-server', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
  });
