// The checks of what the page does: signing in, listening, revocations, roles, and what comes back.

import assert from "node:assert/strict";
import {
  allBack, broadcast, button, changeRole, holdConnection, listenOver, matchedOf, openPage, openPlain, plainHas, plainHeard, remove,
  said, signIn, state, stream, unexpected, waitUntil,
} from "./page.mjs";
import { call, startServer, stopServer } from "./server.mjs";

/** Sign in, both transports, messages, revocation of the own account, and no way back. */
export async function revocation(browser, url) {
  const { page, context, asked, answers, faults, seen } = await openPage(browser, url);
  await page.getByText("Not signed in").waitFor();
  assert.equal(await button(page, "Open a stream").isDisabled(), true);
  await seen("signed-out");

  await signIn(page, "ada");
  await listenOver(page, "Server-sent events", "SSE 1");
  await listenOver(page, "WebSocket", "WS 2");
  const hostile = '{"html": "<img src=x onerror=alert(1)>", "snow": "☃"}';
  assert.match(await broadcast(page, "runs", hostile), /^Matched 2, accepted 2\nid [0-9a-f]{16}-1$/);
  await said(page, hostile).nth(1).waitFor();
  assert.equal(await page.locator("#log img").count(), 0, "text is text");
  await said(page, hostile).getByText(/^on runs · id [0-9a-f]{16}-1$/).nth(1).waitFor();
  assert.match(await broadcast(page, "elsewhere", "1"), /^Matched 0, /);
  assert.match(await broadcast(page, "runs", '{"run": }'), /^400: invalid JSON: .* line 1 column 9$/);
  await page.getByLabel("JSON").fill('{"run": 1}');
  assert.equal(await page.locator("#broadcast-answer").textContent(), "", "the error goes with what was wrong");
  await broadcast(page, "jobs", '{"job": 4, "state": "queued"}');
  await said(page, '"queued"').nth(1).waitFor();
  await page.locator("#stats").getByText("sse 1 · ws 1").waitFor();
  await seen("signed-in");

  await button(page, "Revoke account").click();
  await page.getByText("Your account ada was revoked: 2 streams were closed. Sign in again to go on.").waitFor();
  await page.getByText("Not signed in").waitFor();
  await said(page, "closed: revoked").nth(1).waitFor();
  // Both come back once to authenticate again, and are refused: by the status, and by the close code.
  await state(page, "SSE 1", "refused: sign in again").waitFor();
  await state(page, "WS 2", "refused: sign in again").waitFor();
  assert.deepEqual([asked("/events"), asked("/ws")], [2, 2]);
  assert.equal(answers.filter((answer) => answer.startsWith("401 /events")).length, 1);
  await page.locator("#stats").getByText("revoked 2").waitFor();
  await seen("revoked");

  // Nothing follows: everything asked for from here on is asked for by this script.
  await signIn(page, "grace");
  await listenOver(page, "WebSocket", "WS 3");
  assert.deepEqual([asked("/events"), asked("/ws")], [2, 3], "no stream came back by itself");
  assert.deepEqual(unexpected(faults, 400, 401), []);
  await context.close();
}

/** Somebody else revokes: the page hears of it when its stream comes back. A reload keeps the session. */
export async function revokedByAnother(browser, url) {
  const { page, context, asked, faults, seen } = await openPage(browser, url, { colorScheme: "dark" });
  await signIn(page, "linus");
  await page.reload();
  await page.getByText("Signed in as linus").waitFor();
  await listenOver(page, "Server-sent events", "SSE 1");
  await broadcast(page, "runs", '{"run": 18, "state": "finished", "seconds": 41.7}');
  await said(page, "finished").waitFor();
  await page.locator("#stats").getByText("sse 1", { exact: true }).waitFor();
  await seen("dark");
  assert.deepEqual(await remove(`${url}/api/accounts/linus`), { closed: 1 });
  await page.getByText("linus is signed out: the server revoked its access.").waitFor();
  await state(page, "SSE 1", "refused: sign in again").waitFor();
  assert.equal(asked("/events"), 2);
  await seen("dark-revoked");
  assert.deepEqual(unexpected(faults, 401), []);
  await context.close();
}

/** A role changes: every stream is back within 4 s and hears what the role may hear, and only that. Then the account goes. */
export async function roleChange(browser, url) {
  const { page, context, asked, answers, faults, seen } = await openPage(browser, url);
  await signIn(page, "mary");
  await openPlain(page, "/events?channels=runs,jobs");
  await listenOver(page, "Server-sent events", "SSE 1");
  await listenOver(page, "WebSocket", "WS 2");

  const closed = "3 streams were closed, to come back to that.";
  assert.equal(await changeRole(page, ["runs"]), `The sessions that mary has now may hear runs: ${closed}`);
  await allBack(page, 2);
  assert.match(await broadcast(page, "jobs", '{"job": 1}'), /^Matched 0, /);
  assert.match(await broadcast(page, "runs", '{"run": 1}'), /^Matched 3, accepted 3\n/);
  await said(page, '{"run": 1}').nth(1).waitFor();
  await plainHas(page, () => window.plain.heard.length > 0);
  assert.deepEqual(await plainHeard(page), ['{"run": 1}']);
  assert.equal(await said(page, '{"job": 1}').count(), 0);
  await seen("role-changed");

  assert.equal(await changeRole(page, null), `The sessions that mary has now may hear every channel: ${closed}`);
  await allBack(page, 3);
  assert.match(await broadcast(page, "jobs", '{"job": 2}'), /^Matched 3, accepted 3\n/);
  await said(page, '{"job": 2}').nth(1).waitFor();
  await plainHas(page, () => window.plain.heard.length > 1);
  assert.deepEqual(await plainHeard(page), ['{"run": 1}', '{"job": 2}']);

  assert.deepEqual(await remove(`${url}/api/accounts/mary`), { closed: 3 });
  await plainHas(page, () => window.plain.source.readyState === EventSource.CLOSED);
  await state(page, "SSE 1", "refused: sign in again").waitFor();
  await state(page, "WS 2", "refused: sign in again").waitFor();
  await page.getByText("mary is signed out: the server revoked its access.").waitFor();
  // Each stream tried once more: the event streams were answered 401, and the WebSocket 4401.
  assert.deepEqual([asked("/events?channels="), asked("/events?channel="), asked("/ws")], [4, 4, 4]);
  assert.equal(answers.filter((answer) => answer.startsWith("401 /events")).length, 2);
  assert.deepEqual(unexpected(faults, 401), []);
  await context.close();
}

/** A role that may hear nothing: the page says what it knows, and does not give the session up. */
export async function nothingLeft(browser, url) {
  const { page, context, faults } = await openPage(browser, url);
  await signIn(page, "carl");
  await listenOver(page, "Server-sent events", "SSE 1");
  await listenOver(page, "WebSocket", "WS 2");
  assert.match(await changeRole(page, []), /^The sessions that carl has now may hear nothing: 2 streams were closed/);
  await state(page, "SSE 1", "refused: nothing of it is granted").waitFor();
  await state(page, "WS 2", "refused: nothing of it is granted").waitFor();
  await page.getByText("Signed in as carl").waitFor();
  assert.deepEqual(unexpected(faults, 403), []);
  await context.close();
}

/** After a log-out no stream comes back by itself within 10 s, not even a plain one. */
export async function logOut(browser, url) {
  const { page, context, asked, faults } = await openPage(browser, url);
  await signIn(page, "olga");
  await openPlain(page, "/events?channels=runs");
  await listenOver(page, "Server-sent events", "SSE 1");
  await listenOver(page, "WebSocket", "WS 2");
  const session = await page.locator("#own-session").textContent();
  assert.deepEqual(await remove(`${url}/api/sessions/${session}`), { closed: 3 });
  const away = async () => {
    await state(page, "SSE 1", "closed: logged_out").waitFor();
    await state(page, "WS 2", "closed: logged_out").waitFor();
    await plainHas(page, () => window.plain.source.readyState === EventSource.CONNECTING);
  };
  await away();
  await page.getByText("olga is signed out: its session was logged out.").waitFor();
  await new Promise((resolve) => setTimeout(resolve, 10_000)); // the promise is a time
  await away();
  assert.deepEqual([asked("/events"), asked("/ws")], [2, 1]);
  assert.deepEqual(unexpected(faults, 401), []);
  await context.close();
}

/** Without a pointer and without sight: every control has a name, and the focus is never lost. */
export async function keyboard(browser, url) {
  const { page, context, faults } = await openPage(browser, url);
  const nameless = () => page.locator("button, input, textarea").evaluateAll((all) => all
    .filter((control) => !control.labels?.length && !control.ariaLabel && !control.textContent.trim()).map(({ id }) => id));
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.value);
  await page.getByLabel("Sign in as").press("Enter");
  await page.getByText("Signed in as ada").waitFor();
  assert.equal(await focused(), "account-title", "what was focused is hidden");
  const passed = [];
  while (passed.at(-1) !== "open" && passed.length < 10) {
    await page.keyboard.press("Tab");
    passed.push(await focused());
  }
  assert.deepEqual(passed, ["log-out", "channels", "sse", "snapshot", "open"]);
  await page.keyboard.press("Enter");
  await state(page, "SSE 1", "open").waitFor();
  await page.getByLabel("JSON").press("Control+Enter");
  await page.getByText("Matched 1, accepted 1").waitFor();
  await button(page, "Close SSE 1").press("Enter");
  assert.deepEqual(await nameless(), []);
  await button(page, "Remove SSE 1").press("Enter");
  assert.equal(await focused(), "streams-title", "what was focused is gone");
  await button(page, "Log out this session").press("Enter");
  await page.getByText("You logged out: 0 streams were closed.").waitFor();
  assert.equal(await focused(), "account-title");
  assert.deepEqual(faults, []);
  await context.close();
}

/** On a phone the answer to every button is in view. The eleventh stream of a session evicts the first, which stays away. */
export async function phone(browser, url) {
  const options = { viewport: { width: 375, height: 812 }, deviceScaleFactor: 2 };
  const { page, context, asked, faults, seen } = await openPage(browser, url, options);
  const known = new Set();
  const pressed = new Set();
  const inView = async (locator) => assert.equal(await locator.evaluate((shown) => {
    const { top, bottom, left, right } = shown.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight || left < 0 || right > innerWidth) return `${top} to ${bottom} of ${innerHeight}`;
    return shown.contains(document.elementFromPoint((left + right) / 2, (top + bottom) / 2)) ? "in view" : "covered";
  }), "in view", String(locator));
  /** Presses a button that is at the lower edge of the view, where an answer below it would not be seen. */
  const press = async (name, answer) => {
    const pressing = button(page, name);
    for (const text of await page.locator("button").allTextContents()) known.add(text);
    pressed.add(await pressing.textContent());
    await pressing.evaluate((pressing) => pressing.scrollIntoView({ block: "end" }));
    await pressing.click();
    await answer.waitFor();
    await inView(answer);
  };
  const answer = (id, text) => page.locator(`#${id}`, { hasText: text });

  await press("Sign in", answer("account-answer", "You are ada."));
  await page.getByLabel("WebSocket").check();
  for (let n = 1; n <= 11; n += 1) await press("Open a stream", answer("listen-answer", `WS ${n} was opened.`));
  await state(page, "WS 1", "closed: evicted").waitFor();
  await page.getByLabel("JSON").fill("[1, 2");
  await press("Broadcast", answer("broadcast-answer", "400: invalid JSON"));
  await page.getByLabel("JSON").fill("[1, 2, 3]");
  await press("Broadcast", answer("broadcast-answer", "Matched 10, accepted 10"));
  await said(page, "[1, 2, 3]").nth(9).waitFor();
  await page.getByLabel("One account").check();
  await press("Send", answer("broadcast-answer", "Matched 10, accepted 10"));
  await page.locator("#subscribers li").nth(9).waitFor();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `the page is ${wide} pixels too wide for a phone`);
  await page.locator("#stats").getByText("ws 10").waitFor();
  await seen("phone");
  await press("Clear", page.locator("#no-messages"));
  await press("Close WS 2", state(page, "WS 2", "closed"));
  await press("Remove WS 2", stream(page, "WS 3"));
  assert.equal(await stream(page, "WS 2").count(), 0);
  await press("Change role", answer("rights-answer", "ada has now may hear runs: 9 streams were closed"));
  for (let n = 3; n <= 11; n += 1) await state(page, `WS ${n}`, "open").waitFor();
  await page.getByLabel("One session, by its id").fill("nobody");
  await press("Log out", answer("session-answer", "No stream was closed: nobody has none open, or is no session."));
  await press("Log out this session", answer("account-answer", "You logged out: 9 streams were closed. Sign in again to go on."));
  assert.equal(asked("/ws"), 20);
  await press("Sign in", answer("account-answer", "You are ada."));
  await press("Revoke account", answer("rights-answer", "Your account ada was revoked: 0 streams were closed."));
  assert.deepEqual(pressed, known, "every button was pressed");

  // What the server does unasked is in view as well, wherever the page is scrolled to.
  await signIn(page, "ada");
  await listenOver(page, "Server-sent events", "SSE 12");
  await page.locator("#stats").scrollIntoViewIfNeeded();
  assert.deepEqual(await remove(`${url}/api/accounts/ada`), { closed: 1 });
  const notice = answer("notice", "ada is signed out: the server revoked its access.");
  await notice.waitFor();
  await inView(notice);
  await seen("phone-notice", false);
  assert.deepEqual(unexpected(faults, 400, 401), []);
  await context.close();
}

/** The server ends and open streams get a farewell; it starts again, and has forgotten the session. */
export async function restart(browser, url, server) {
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

/** A plain EventSource comes back after every refusal that passes: no room, a role that changes during the login, a restart. */
export async function comesBack(browser) {
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  const listen = ["--listen", `127.0.0.1:${port}`];
  let { server, url } = await startServer(...listen, "--open", "--max-connections", "3");
  const { page, context, faults } = await openPage(browser, "about:blank");
  const openCounting = () => page.evaluate((url) => {
    const plain = { opened: 0, ends: [], heard: [], source: new EventSource(url) };
    plain.source.addEventListener("open", () => { plain.opened += 1; });
    plain.source.addEventListener("close", (event) => plain.ends.push(JSON.parse(event.data)));
    plain.source.addEventListener("message", (event) => plain.heard.push(event.data));
    window.plain = plain;
  }, "/events");

  // No room: another stream and two connections that ask for nothing have it. Who can read a status gets the status.
  await page.goto(`${url}/healthz`);
  await page.evaluate(() => new Promise((opened) => {
    window.first = new EventSource("/events");
    window.first.addEventListener("open", opened);
  }));
  const held = [await holdConnection(port), await holdConnection(port)];
  await waitUntil(async () => (await fetch(`${url}/healthz`, { headers: { connection: "close" } })).status === 503);
  await openCounting();
  await plainHas(page, () => window.plain.ends.some(({ reason, status }) => reason === "unavailable" && status === 503));
  held.forEach((socket) => socket.destroy());
  await page.evaluate(() => window.first.close());
  await waitUntil(() => page.evaluate(() => window.plain.opened > window.plain.ends.length));
  await waitUntil(async () => (await matchedOf(url, "runs", 0)) === 1);
  await plainHas(page, () => window.plain.heard.length > 0);

  // A restart.
  assert.equal(await stopServer(server), 0);
  await plainHas(page, () => window.plain.ends.at(-1).reason === "shutdown");
  ({ server, url } = await startServer(...listen, "--open"));
  const before = await page.evaluate(() => window.plain.heard.length);
  await waitUntil(async () => (await matchedOf(url, "runs", 2)) === 1);
  await page.waitForFunction((before) => window.plain.heard.length > before, before, { polling: 50 });
  await page.evaluate(() => window.plain.source.close());
  assert.equal(await stopServer(server), 0);
  assert.deepEqual(faults.filter((text) => !/ERR_|favicon|status of 404/.test(text)), []);
  await context.close();

  // A role that changes while the login is being checked.
  const slow = await startServer("--listen", "127.0.0.1:0", "--authorise-delay", "700");
  const crossing = await openPage(browser, slow.url);
  await signIn(crossing.page, "ada");
  await crossing.page.evaluate(() => {
    const plain = { ends: [], heard: [], source: new EventSource("/events?channels=runs,jobs") };
    plain.source.addEventListener("close", (event) => plain.ends.push(JSON.parse(event.data)));
    plain.source.addEventListener("message", (event) => plain.heard.push(event.data));
    window.plain = plain;
  });
  await new Promise((resolve) => setTimeout(resolve, 200)); // within the check
  assert.deepEqual(await call("PUT", `${slow.url}/api/accounts/ada/channels`, { channels: ["jobs"] }), { closed: 0 });
  await plainHas(crossing.page, () => window.plain.ends.length === 1);
  assert.deepEqual(await crossing.page.evaluate(() => window.plain.ends), [{ reason: "unavailable", status: 503 }]);
  await waitUntil(async () => (await matchedOf(slow.url, "jobs", 1)) === 1);
  await plainHas(crossing.page, () => window.plain.heard.length > 0);
  assert.equal(await matchedOf(slow.url, "runs", 1), 0);
  assert.deepEqual(crossing.faults, []);
  await crossing.context.close();
  await stopServer(slow.server);
}

/** A server with an admin token: the page asks for it when it is needed. */
export async function adminToken(browser) {
  const { url } = await startServer("--listen", "127.0.0.1:0", "--admin-token", "letmein");
  const { page, context, faults } = await openPage(browser, url);
  await button(page, "Sign in").click();
  await page.getByText("401: this call needs the admin token").waitFor();
  await page.getByLabel("Admin token").fill("letmein");
  await signIn(page, "ada");
  await listenOver(page, "WebSocket", "WS 1");
  assert.match(await broadcast(page, "runs", "1"), /^Matched 1, accepted 1/);
  assert.match(await changeRole(page, ["jobs"]), /may hear jobs: 1 stream was closed/);
  assert.deepEqual(unexpected(faults, 401), []);
  await context.close();
}
