// What the checks do on the page of the demo, as a person would, and what they see there.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { call } from "./server.mjs";

const { SCREENSHOTS } = process.env;

/** A page that writes down what it asked for, what it was answered, and what went wrong. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const requests = [];
  const answers = [];
  const faults = [];
  const path = (url) => new URL(url).pathname + new URL(url).search;
  page.on("request", (request) => requests.push(path(request.url())));
  page.on("websocket", (socket) => requests.push(path(socket.url())));
  page.on("response", (response) => answers.push(`${response.status()} ${path(response.url())}`));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && faults.push(message.text()));
  page.on("pageerror", (error) => faults.push(String(error)));
  await page.goto(url);
  const asked = (start) => requests.filter((path) => path.startsWith(start)).length;
  const seen = async (name, fullPage = true) => SCREENSHOTS && page.screenshot({ path: `${SCREENSHOTS}/${name}.png`, fullPage });
  return { page, context, asked, answers, faults, seen };
}

export const button = (page, name) => page.getByRole("button", { name, exact: true });
export const stream = (page, name) => page.locator("#streams li").filter({ has: page.getByText(name, { exact: true }) });
export const state = (page, name, text) => stream(page, name).getByText(text, { exact: true });
export const said = (page, text) => page.locator("#log li", { hasText: text });

export async function signIn(page, account) {
  await page.getByLabel("Sign in as").fill(account);
  await button(page, "Sign in").click();
  await page.getByText(`Signed in as ${account}`).waitFor();
}

export async function listenOver(page, transport, name) {
  await page.getByLabel(transport).check();
  await button(page, "Open a stream").click();
  await state(page, name, "open").waitFor();
}

export async function broadcast(page, channel, json) {
  await page.getByLabel("Channel", { exact: true }).fill(channel);
  await page.getByLabel("JSON").fill(json);
  await button(page, "Broadcast").click();
  await page.locator("#broadcast-answer:not(:empty)").waitFor();
  return page.locator("#broadcast-answer").textContent();
}

/** Sets what an account may hear, by the page's own control. */
export async function changeRole(page, channels) {
  await page.getByLabel(channels === null ? "Every channel" : "Only these:").check();
  if (channels !== null) await page.getByLabel("Channels that the account may hear").fill(channels.join(", "));
  await button(page, "Change role").click();
  await page.locator("#rights-answer:not(:empty)").waitFor();
  return page.locator("#rights-answer").textContent();
}

/** Opens an event stream with no code of the page around it; only what becomes of it is written down. */
export async function openPlain(page, path) {
  await page.evaluate((path) => {
    const source = new EventSource(path);
    const plain = { source, opened: 0, heard: [] };
    source.addEventListener("open", () => { plain.opened += 1; });
    source.addEventListener("message", (event) => plain.heard.push(event.data));
    window.plain = plain;
  }, path);
  await plainHas(page, () => window.plain.opened === 1);
}

export const plainHas = (page, what, options) => page.waitForFunction(what, undefined, { polling: 50, ...options });
export const plainHeard = (page) => page.evaluate(() => window.plain.heard);

/** Everything of the page and the plain stream is back by itself, within 4 s from now. */
export async function allBack(page, times) {
  const soon = { timeout: 4_000 };
  await Promise.all([
    page.waitForFunction((times) => window.plain.opened === times, times, { polling: 50, ...soon }),
    state(page, "SSE 1", "open").waitFor(soon),
    state(page, "WS 2", "open").waitFor(soon),
  ]);
}

/** A connection that asks for nothing. */
export async function holdConnection(port) {
  const socket = connect({ host: "127.0.0.1", port });
  await once(socket, "connect");
  return socket.on("error", () => {});
}

/** Broadcasts, and returns how many subscribers hear it. */
export async function matchedOf(url, channel, data) {
  return (await call("POST", `${url}/api/channels/${channel}`, data)).matched;
}

export async function waitUntil(holds) {
  for (const end = Date.now() + 15_000; !(await holds());) {
    assert.ok(Date.now() < end, "it never came");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

export const remove = (url) => call("DELETE", url);

/** What went wrong, without the answers that were meant; the browser writes of a refused upgrade in words of its own. */
export function unexpected(faults, ...statuses) {
  const meant = new RegExp(`(status of|Unexpected response code:) (${statuses.join("|")})`);
  return faults.filter((text) => !meant.test(text));
}
