// The checks of what the page shows by live.js: names, messages to one account, a snapshot first, and every stream.

import assert from "node:assert/strict";
import {
  broadcast, button, changeRole, listenOver, openPage, plainHas, said, signIn, state, stream, unexpected,
} from "./page.mjs";
import { call } from "./server.mjs";

/** The messages of a page: from which stream, what, and about what. */
const messages = (page) => page.locator("#log li:not(.event)").evaluateAll((all) => all.map((entry) => [
  entry.querySelector(".from").textContent, entry.querySelector("pre").textContent,
  entry.querySelector(".about").textContent.replace(/ · id .*/, ""),
]));

async function fillMessage(page, channel, event, json) {
  await page.getByLabel("Channel", { exact: true }).fill(channel);
  await page.getByLabel("Event", { exact: true }).fill(event);
  await page.getByLabel("JSON").fill(json);
}

/** A message has a name: a plain EventSource hears it under that name and under no other, and the page shows it. */
export async function named(browser, url) {
  const { page, context, faults, seen } = await openPage(browser, url);
  await signIn(page, "nora");
  await page.evaluate(() => {
    const plain = { opened: 0, created: [], nameless: [], source: new EventSource("/events?channels=runs") };
    plain.source.addEventListener("open", () => { plain.opened += 1; });
    plain.source.addEventListener("created", ({ data, lastEventId }) => plain.created.push([data, lastEventId]));
    plain.source.addEventListener("message", ({ data }) => plain.nameless.push(data));
    window.plain = plain;
  });
  await plainHas(page, () => window.plain.opened === 1);
  await listenOver(page, "Server-sent events", "SSE 1");
  await listenOver(page, "WebSocket", "WS 2");
  await fillMessage(page, "runs", "created", '{"run": 21}');
  await button(page, "Broadcast").click();
  await page.getByText("Matched 3, accepted 3").waitFor();
  await fillMessage(page, "runs", "", '{"run": 22}');
  await button(page, "Broadcast").click();
  await said(page, '{"run": 22}').nth(1).waitFor();
  await plainHas(page, () => window.plain.nameless.length === 1);
  const [created, nameless] = await page.evaluate(() => [window.plain.created, window.plain.nameless]);
  assert.equal(created.length, 1);
  assert.match(created[0].join(" "), /^\{"run": 21\} [0-9a-f]{16}-\d+$/);
  assert.deepEqual(nameless, ['{"run": 22}']);
  assert.deepEqual((await messages(page)).sort(), [
    ["SSE 1", '{"run": 21}', "on runs · event created"], ["SSE 1", '{"run": 22}', "on runs"],
    ["WS 2", '{"run": 21}', "on runs · event created"], ["WS 2", '{"run": 22}', "on runs"],
  ]);
  await fillMessage(page, "runs", "close", "1");
  await button(page, "Broadcast").click();
  await page.getByText('400: the event name "close" is reserved').waitFor();
  await seen("named");
  assert.deepEqual(unexpected(faults, 400), []);
  await context.close();
}

/** Two tabs of one account and one of another: a message to the account reaches exactly two, whatever they listen to. */
export async function oneAccount(browser, url) {
  const tabs = [];
  for (const [account, transport] of [["pia", "Server-sent events"], ["pia", "WebSocket"], ["quinn", "WebSocket"]]) {
    const tab = await openPage(browser, url);
    await signIn(tab.page, account);
    await listenOver(tab.page, transport, transport === "WebSocket" ? "WS 1" : "SSE 1");
    tabs.push(tab);
  }
  const [one, two, other] = tabs.map(({ page }) => page);
  await other.getByLabel("One account").check();
  await other.getByLabel("Recipient").fill("pia");
  await fillMessage(other, "mail", "letter", '{"from": "quinn"}');
  await button(other, "Send").click();
  await other.getByText("Matched 2, accepted 2").waitFor();
  for (const page of [one, two]) await said(page, '"quinn"').getByText(/^on mail · event letter · id /).waitFor();
  // The other hears a later message, so it would have heard this one before.
  await other.getByLabel("One session", { exact: true }).check();
  await other.getByLabel("Recipient").fill(await other.locator("#own-session").textContent());
  await fillMessage(other, "mail", "", '"to myself"');
  await button(other, "Send").click();
  await said(other, '"to myself"').waitFor();
  assert.deepEqual(await messages(other), [["WS 1", '"to myself"', "on mail"]]);
  await tabs[2].seen("one-account");
  for (const { faults, context } of tabs) {
    assert.deepEqual(faults, []);
    await context.close();
  }
}

/** With a snapshot, the last values come first, and then what changes them; also when the stream comes back. */
export async function snapshotFirst(browser, url) {
  const { page, context, faults, seen } = await openPage(browser, url);
  await signIn(page, "rosa");
  await call("POST", `${url}/api/channels/runs`, "before");
  await call("POST", `${url}/api/channels/elsewhere`, "not heard");
  await page.getByLabel("The last value of each channel first").check();
  await listenOver(page, "Server-sent events", "SSE 1");
  await listenOver(page, "WebSocket", "WS 2");
  await said(page, '"runs":"before"').nth(1).waitFor();
  await broadcast(page, "runs", '"after"');
  await said(page, '"after"').nth(1).waitFor();
  for (const name of ["SSE 1", "WS 2"]) {
    const own = (await messages(page)).filter(([from]) => from === name);
    assert.deepEqual(own.map(([, , about]) => about), ["the last values", "on runs"]);
    assert.ok(!own[0][1].includes("elsewhere"), own[0][1]);
  }
  await seen("snapshot");
  assert.match(await changeRole(page, ["runs"]), /2 streams were closed/);
  await said(page, '{"channels":{"runs":"after"}}').nth(1).waitFor();
  for (const name of ["SSE 1", "WS 2"]) await stream(page, name).getByText("asks for runs, jobs; refused: jobs").waitFor();
  assert.deepEqual(faults, []);
  await context.close();
}

/** Every stream is listed, with its account, how it is served and how old it is; one is closed, and comes back. */
export async function oneStream(browser, url) {
  const { page, context, asked, faults, seen } = await openPage(browser, url);
  await signIn(page, "sara");
  await listenOver(page, "Server-sent events", "SSE 1");
  await listenOver(page, "WebSocket", "WS 2");
  const listed = (name) => page.locator("#subscribers li").filter({ has: page.getByText(name) });
  const [sse, ws] = [listed("sara over sse"), listed("sara over ws")];
  for (const row of [sse, ws]) {
    await row.getByText("direct", { exact: true }).waitFor();
    await row.getByText(/^this session · hears jobs, runs · none waiting · open for [2-9] s$/).waitFor();
  }
  await seen("every-stream");
  await button(page, "Close the stream of sara over ws").focus();
  await page.keyboard.press("Enter");
  await page.getByText("The stream of sara over ws was closed. It comes back if it may.").waitFor();
  await said(page, "closed: revoked").waitFor();
  await said(page, "back, authenticated again").waitFor();
  await state(page, "WS 2", "open").waitFor();
  await ws.getByText(/· none waiting · open for \d s$/).waitFor();
  assert.notEqual(await page.evaluate(() => document.activeElement.tagName), "BODY", "the focus went on");
  assert.deepEqual([asked("/events"), asked("/ws")], [1, 2]);
  await button(page, "Close SSE 1").click();
  await sse.waitFor({ state: "detached" });
  assert.deepEqual(faults, []);
  await context.close();
}

/** Without a network nothing is tried; with it the streams are back, after the last message that they heard. */
export async function offline(browser, url) {
  const { page, context, asked, faults } = await openPage(browser, url);
  await signIn(page, "tom");
  await listenOver(page, "WebSocket", "WS 1");
  await broadcast(page, "runs", '"heard"');
  await said(page, '"heard"').waitFor();
  await context.setOffline(true);
  assert.equal(await page.evaluate(() => navigator.onLine), false);
  assert.deepEqual(await call("PUT", `${url}/api/accounts/tom/channels`, { channels: ["runs"] }), { closed: 1 });
  await state(page, "WS 1", "closed: revoked, coming back").waitFor();
  await new Promise((resolve) => setTimeout(resolve, 1500)); // longer than it waits
  assert.equal(asked("/ws"), 1);
  await context.setOffline(false);
  await state(page, "WS 1", "open").waitFor();
  assert.equal(asked("/ws?channel=runs&channel=jobs&last_event_id="), 1);
  assert.deepEqual(faults.filter((text) => !/ERR_INTERNET_DISCONNECTED/.test(text)), []);
  await context.close();
}
