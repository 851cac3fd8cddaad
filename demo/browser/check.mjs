// Drives the page of the demo in Chromium, as a person would: signs in, listens over both transports, broadcasts, changes what
// the account may hear, revokes it and logs out; and looks what the page says, and which streams come back. A plain EventSource,
// with no code of the page around it, shows that what the server says is enough for a browser.
//
//     npm ci && npm run check              all of it
//     npm run check -- phone keyboard      two checks of it
//
// It builds and starts the server itself, with cargo; DEMO=<path> names a built one instead. CHROMIUM=<path> names the
// browser, SCREENSHOTS=<directory> keeps what was seen.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import * as live from "./checks-live.mjs";
import * as checks from "./checks.mjs";
import { startServer, stopAll } from "./server.mjs";

const { CHROMIUM = "/usr/bin/chromium" } = process.env;
const { revocation, revokedByAnother, roleChange, nothingLeft, logOut, keyboard, phone, restart, comesBack, adminToken } = checks;
const { named, oneAccount, snapshotFirst, oneStream, offline } = live;
// The restart is last of those that share a server.
const all = [revocation, revokedByAnother, roleChange, nothingLeft, logOut, keyboard, phone, named, oneAccount, snapshotFirst,
  oneStream, offline, restart, comesBack, adminToken];

let browser;
try {
  const { server, url } = await startServer("--listen", "127.0.0.1:0");
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--disable-dev-shm-usage"] });
  const chosen = process.argv.slice(2);
  let passed = 0;
  for (const check of all.filter(({ name }) => chosen.length === 0 || chosen.includes(name))) {
    const began = performance.now();
    await check(browser, url, server);
    console.log(`ok ${check.name} (${((performance.now() - began) / 1000).toFixed(1)} s)`);
    passed += 1;
  }
  assert.ok(passed > 0, `no check is named ${chosen}`);
  console.log(`${passed} passed, 0 failed`);
} finally {
  await browser?.close();
  await stopAll();
}
