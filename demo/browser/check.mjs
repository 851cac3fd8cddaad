// Drives the page of the demo in Chromium, as a person would: signs in, listens over both transports, broadcasts, revokes the
// account, and looks that the page says so and does not come back.
//
//     npm ci && npm run check
//
// It builds and starts the server itself, with cargo; DEMO=<path> names a built one instead. CHROMIUM=<path> names the
// browser, SCREENSHOTS=<directory> keeps what was seen.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { DEMO, CHROMIUM = "/usr/bin/chromium", SCREENSHOTS } = process.env;
const running = new Set();

async function startServer(...args) {
  const [command, ...first] = DEMO ? [resolve(DEMO)] : ["cargo", "run", "--quiet", "-p", "demo", "--"];
  const server = spawn(command, [...first, ...args], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  await once(server, "spawn");
  running.add(server);
  for await (const line of createInterface({ input: server.stdout })) {
    const url = /^listening on (http:\S+)$/.exec(line)?.[1];
    if (url) return { server, url };
  }
  throw new Error("the server did not start");
}

async function stopServer(server) {
  running.delete(server);
  if (server.exitCode !== null) return server.exitCode;
  const exit = once(server, "exit");
  server.kill("SIGTERM");
  return (await exit)[0];
}

/** A page that writes down what it asked for, and what went wrong. */
async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const requests = [];
  const faults = [];
  page.on("request", (request) => requests.push(new URL(request.url()).pathname));
  page.on("websocket", (socket) => requests.push(new URL(socket.url()).pathname));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && faults.push(message.text()));
  page.on("pageerror", (error) => faults.push(String(error)));
  await page.goto(url);
  const seen = async (name) => SCREENSHOTS && page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, fullPage: true });
  return { page, context, requests, faults, seen };
}

async function signIn(page, account) {
  await page.getByLabel("Sign in as").fill(account);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText(`Signed in as ${account}`).waitFor();
}

async function listenOver(page, transport, name) {
  await page.getByLabel(transport).check();
  await page.getByRole("button", { name: "Open a stream" }).click();
  await page.locator("#streams li", { hasText: name }).getByText("open", { exact: true }).waitFor();
}

async function broadcast(page, channel, json) {
  await page.getByLabel("Channel", { exact: true }).fill(channel);
  await page.getByLabel("JSON").fill(json);
  await page.getByRole("button", { name: "Broadcast" }).click();
  await page.locator("#sent:not(:empty)").waitFor();
  return page.locator("#sent").textContent();
}

const said = (page, text) => page.locator("#log li", { hasText: text });
const stream = (page, name) => page.locator("#streams li", { hasText: name });

/** Sign in, both transports, messages, revocation of the account, and no way back. */
async function revocation(browser, url) {
  const { page, context, requests, faults, seen } = await openPage(browser, url);
  await page.getByText("Not signed in").waitFor();
  assert.equal(await page.getByRole("button", { name: "Open a stream" }).isDisabled(), true);
  await seen("signed-out");

  await signIn(page, "ada");
  await listenOver(page, "Server-sent events", "SSE 1");
  await listenOver(page, "WebSocket", "WS 2");
  const hostile = '{"html": "<img src=x onerror=alert(1)>", "snow": "☃"}';
  assert.match(await broadcast(page, "runs", hostile), /^Matched 2, accepted 2\nid [0-9a-f]{16}-1$/);
  await said(page, hostile).nth(1).waitFor();
  assert.equal(await page.locator("#log img").count(), 0, "text is text");
  assert.match(await broadcast(page, "elsewhere", "1"), /^Matched 0, /);
  assert.match(await broadcast(page, "runs", '{"run": }'), /^400: invalid JSON: .* line 1 column 9$/);
  await broadcast(page, "jobs", '{"job": 4, "state": "queued"}');
  await said(page, '"queued"').nth(1).waitFor();
  await page.locator("#stats").getByText("sse 1 · ws 1").waitFor();
  await seen("signed-in");

  await page.getByRole("button", { name: "Revoke account" }).click();
  await stream(page, "SSE 1").getByText("closed: revoked").waitFor();
  await stream(page, "WS 2").getByText("closed: revoked").waitFor();
  await page.getByText("The account ada was revoked: 2 streams were closed. Sign in again to go on.").waitFor();
  await page.getByText("Not signed in").waitFor();
  await page.locator("#stats").getByText("revoked 2").waitFor();
  await seen("revoked");

  // Nothing follows: everything asked for from here on is asked for by this script.
  const before = requests.length;
  const status = await page.evaluate(async () => (await fetch("/events?channels=runs")).status);
  assert.equal(status, 401, "the old credential is dead");
  await signIn(page, "grace");
  await listenOver(page, "WebSocket", "WS 3");
  const after = requests.slice(before).filter((path) => path === "/events" || path === "/ws");
  assert.deepEqual(after, ["/events", "/ws"], "no stream came back by itself");

  const unexpected = faults.filter((text) => !/status of (400|401)/.test(text));
  assert.deepEqual(unexpected, []);
  await context.close();
}

/** Somebody else revokes: the page hears of it from its streams alone. A reload keeps the session. */
async function revokedByAnother(browser, url) {
  const { page, context, requests, faults, seen } = await openPage(browser, url, { colorScheme: "dark" });
  await signIn(page, "linus");
  await page.reload();
  await page.getByText("Signed in as linus").waitFor();
  await listenOver(page, "Server-sent events", "SSE 1");
  await broadcast(page, "runs", '{"run": 18, "state": "finished", "seconds": 41.7}');
  await said(page, "finished").waitFor();
  await page.locator("#stats").getByText("sse 1", { exact: true }).waitFor();
  await seen("dark");
  const answer = await fetch(`${url}/api/accounts/linus`, { method: "DELETE" });
  assert.deepEqual(await answer.json(), { closed: 1 });
  await page.getByText("linus is signed out: the server revoked its access.").waitFor();
  await stream(page, "SSE 1").getByText("closed: revoked").waitFor();
  assert.equal(requests.filter((path) => path === "/events").length, 1);
  assert.deepEqual(faults, []);
  await context.close();
}

/** The eleventh stream of a session evicts the first, which stays away; logging out ends the rest. */
async function eviction(browser, url) {
  const phone = { viewport: { width: 375, height: 812 }, deviceScaleFactor: 2 };
  const { page, context, requests, faults, seen } = await openPage(browser, url, phone);
  await signIn(page, "ada");
  for (let n = 1; n <= 11; n += 1) await listenOver(page, "WebSocket", `WS ${n}`);
  await stream(page, "WS 1").first().getByText("closed: evicted").waitFor();
  await broadcast(page, "runs", "[1, 2, 3]");
  await said(page, "[1, 2, 3]").nth(9).waitFor();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `the page is ${wide} pixels too wide for a phone`);
  await page.locator("#stats").getByText("ws 10").waitFor();
  await seen("phone");
  await page.getByRole("button", { name: "Log out this session" }).click();
  await page.getByText("You logged out: 10 streams were closed. Sign in again to go on.").waitFor();
  assert.equal(requests.filter((path) => path === "/ws").length, 11);
  assert.deepEqual(faults, []);
  await context.close();
}

/** The server goes and open streams are told; it comes back, and has forgotten the session. */
async function restart(browser, url, server) {
  const { page, context, faults, seen } = await openPage(browser, url);
  await signIn(page, "grace");
  await listenOver(page, "Server-sent events", "SSE 1");
  await listenOver(page, "WebSocket", "WS 2");
  assert.equal(await stopServer(server), 0, "the server ends well with streams open");
  await said(page, "closed: shutdown").nth(1).waitFor();
  await seen("shutdown");
  await startServer("--listen", new URL(url).host);
  await page.getByText("grace is signed out: the server does not know its session any more.").waitFor();
  await signIn(page, "grace");
  await listenOver(page, "Server-sent events", "SSE 3");
  await seen("restarted");
  assert.deepEqual(faults.filter((text) => !/ERR_|WebSocket connection|status of 401/.test(text)), []);
  await context.close();
}

/** A server with an admin token: the page asks for it when it is needed. */
async function adminToken(browser) {
  const { url } = await startServer("--listen", "127.0.0.1:0", "--admin-token", "letmein");
  const { page, context, faults } = await openPage(browser, url);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("401: this call needs the admin token").waitFor();
  await page.getByLabel("Admin token").fill("letmein");
  await signIn(page, "ada");
  await listenOver(page, "WebSocket", "WS 1");
  assert.match(await broadcast(page, "runs", "1"), /^Matched 1, accepted 1/);
  assert.deepEqual(faults.filter((text) => !/status of 401/.test(text)), []);
  await context.close();
}

let browser;
try {
  const { server, url } = await startServer("--listen", "127.0.0.1:0");
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--disable-dev-shm-usage"] });
  let passed = 0;
  for (const check of [revocation, revokedByAnother, eviction, restart, adminToken]) {
    await check(browser, url, server);
    console.log(`ok ${check.name}`);
    passed += 1;
  }
  console.log(`${passed} passed, 0 failed`);
} finally {
  await browser?.close();
  for (const server of running) await stopServer(server);
}
