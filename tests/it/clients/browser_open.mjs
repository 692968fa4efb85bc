// Starts a headless Chromium that reaches nothing but this machine, with an empty profile.
import { createRequire } from 'node:module';

const { chromium } = createRequire(`${process.env.PARTS}/index.js`)('playwright-core');

const options = {
  args: [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  ],
};

/** Chromium itself now and then dies of a SIGSEGV while it starts: that is not what is tested. */
export async function openBrowser(executablePath, tries = 3) {
  try {
    return await chromium.launch({ executablePath, ...options });
  } catch (error) {
    if (tries <= 1) throw error;
    return openBrowser(executablePath, tries - 1);
  }
}
