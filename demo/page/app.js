// The page of the demo. All text is set as text; the policy of the server forbids the rest.

import { connect } from "/live.js";

const $ = (id) => document.getElementById(id);

// A browser gives one server six connections over HTTP/1.1, and an event stream holds one: some are left for calls.
const MAX_EVENT_STREAMS = 4;
const MAX_LOG = 200;
const MAX_BODY = 1 << 20;

// What an end means to a person. Whether a stream comes back is known to live.js.
const MEANING = {
  revoked: "access was revoked or changed",
  logged_out: "the session was logged out",
  evicted: "a newer stream of this session took its place",
  protocol: "this page broke a rule of the protocol",
  expired: "the credential ran out",
  heartbeat: "the connection was silent for too long",
  lagged: "the page read too slowly",
  failed: "the server could not go on with this stream",
  shutdown: "the server is shutting down",
};
const REFUSED = {
  unauthenticated: "refused: sign in again",
  forbidden: "refused: nothing of it is granted",
  malformed: "refused: the server does not understand the request",
};
// Why a credential has ended, by the reason of the last farewell.
const LOSS = { revoked: "the server revoked its access", logged_out: "its session was logged out", expired: "its session ran out" };

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// --- calls ---

async function call(method, path, json) {
  const headers = {};
  if (json !== undefined) headers["content-type"] = "application/json";
  const guarded = method !== "GET" || path.startsWith("/api/subscribers");
  if (guarded && $("admin-token").value) headers.authorization = `Bearer ${$("admin-token").value}`;
  let response;
  try {
    response = await fetch(path, { method, headers, body: json, cache: "no-store" });
  } catch {
    throw new Error("The server does not answer.");
  }
  const needsToken = guarded && response.status === 401;
  if (needsToken) $("admin").hidden = false;
  if (response.status === 204) return null;
  const text = await response.text();
  let answer = {};
  try { answer = JSON.parse(text); } catch { /* not from this server: the status is enough */ }
  if (!response.ok) {
    const reason = `${response.status}: ${answer.error ?? response.statusText}${needsToken ? " (enter it under Account)" : ""}`;
    throw Object.assign(new Error(reason), { status: response.status });
  }
  return answer;
}

// --- what the page says ---

/** Tells what the server did unasked. It stays in view. */
function notify(text) {
  $("notice").textContent = text;
}

/** Tells a screen reader what others see where they clicked. */
function aside(text) {
  $("aside").textContent = text;
}

/** Answers beside the button, in view: of a phone's page little is seen at once. */
function answer(id, text, className = "") {
  const output = $(id);
  output.textContent = text;
  output.className = className;
  if (text) output.scrollIntoView({ block: "nearest" });
}

/** Runs what a form or button asks for, and gives its answer or its error. An answer goes when what it answers is edited. */
function on(id, event, place, action) {
  $(id).addEventListener(event, async (happened) => {
    happened.preventDefault();
    answer(place, "");
    try {
      answer(place, await action(happened), "good");
    } catch (error) {
      answer(place, error.message, "bad");
    }
    refresh();
  });
  $(id).addEventListener("input", () => answer(place, ""));
}

const names = (id) => $(id).value.split(",").map((name) => name.trim()).filter((name) => name);
const streamsClosed = (closed) => (closed === 1 ? "1 stream was closed" : `${closed} streams were closed`);

// --- who is signed in ---

let me = null;

function setMe(identity) {
  const focused = document.activeElement;
  // What was said to somebody else is no answer any more.
  for (const output of document.querySelectorAll("output")) output.textContent = "";
  me = identity;
  $("who").textContent = me ? `Signed in as ${me.account}` : "Not signed in";
  $("who").classList.toggle("in", Boolean(me));
  $("sign-in").hidden = Boolean(me);
  $("signed-in").hidden = !me;
  $("open").disabled = !me;
  $("open-hint").hidden = Boolean(me);
  $("own-account").textContent = me?.account ?? "";
  $("own-session").textContent = me?.session ?? "";
  if (me) {
    $("victim").value = me.account;
    $("recipient").value = me.account;
    $("victim-session").value = me.session;
  }
  // Who was on a button that is hidden now goes on beside it.
  if (focused?.closest("[hidden]")) $("account-title").focus({ preventScroll: true });
}

/** Asks the server who we are, and returns whether we are signed in. When not any more, the page says why. */
async function stillSignedIn(why) {
  let identity = null;
  try {
    identity = await call("GET", "/api/session");
  } catch (error) {
    if (error.status !== 401) throw error;
  }
  const was = me?.account;
  if (identity?.session !== me?.session) setMe(identity);
  if (!identity && was) notify(`${was} is signed out: ${why}.`);
  return Boolean(identity);
}

on("sign-in", "submit", "account-answer", async () => {
  const { session, account } = await call("POST", "/api/sessions", JSON.stringify({ account: $("account").value }));
  setMe({ session, account });
  notify("");
  return `You are ${account}. Next, open a stream.`;
});

on("log-out", "click", "account-answer", () => endSession(me.session));
on("end-session", "submit", "session-answer", () => endSession($("victim-session").value.trim()));

async function endSession(session) {
  const own = me?.session === session;
  const { closed } = await call("DELETE", `/api/sessions/${encodeURIComponent(session)}`);
  if (own) setMe(null);
  if (own) return `You logged out: ${streamsClosed(closed)}. Sign in again to go on.`;
  // The server does not tell a session without streams from one that never was.
  if (closed === 0) return `No stream was closed: ${session} has none open, or is no session.`;
  return `The session ${session} was logged out: ${streamsClosed(closed)}.`;
}

on("account-rights", "submit", "rights-answer", ({ submitter }) => {
  const account = $("victim").value;
  const path = `/api/accounts/${encodeURIComponent(account)}`;
  return submitter?.value === "revoke" ? revoke(account, path) : changeRole(account, path);
});

async function revoke(account, path) {
  const own = me?.account === account;
  const { closed } = await call("DELETE", path);
  if (own) setMe(null);
  if (own) return `Your account ${account} was revoked: ${streamsClosed(closed)}. Sign in again to go on.`;
  if (closed === 0) return `No stream was closed: ${account} has none open, or is not signed in.`;
  return `The account ${account} was revoked: ${streamsClosed(closed)}.`;
}

async function changeRole(account, path) {
  const everything = new FormData($("account-rights")).get("hears") === "everything";
  const channels = everything ? null : names("role");
  const { closed } = await call("PUT", `${path}/channels`, JSON.stringify({ channels }));
  const hears = everything ? "every channel" : channels.length ? channels.join(", ") : "nothing";
  if (closed === 0) return `No stream was closed. The sessions that ${account} has now, if any, may hear ${hears}.`;
  return `The sessions that ${account} has now may hear ${hears}: ${streamsClosed(closed)}, to come back to that.`;
}

$("role").addEventListener("input", () => { $("account-rights").elements.hears.value = "named"; });

// --- streams ---

const streams = [];
let made = 0;

/** One connection and its row. */
class Stream {
  constructor(transport, channels, snapshot) {
    this.transport = transport;
    this.name = `${transport.toUpperCase()} ${++made}`;
    this.over = false;
    this.admitted = false;
    this.reason = null; // of its last end, until it is admitted again
    this.settled = new Promise((settle) => { this.settle = settle; });
    this.count = 0;

    this.row = element("li");
    this.row.tabIndex = -1;
    this.state = element("span", "state");
    this.state.setAttribute("role", "status");
    this.counter = element("span", "count", "0 messages");
    this.button = closeButton(this.name, () => this.leave());
    const asked = `asks for ${channels.length ? channels.join(", ") : "all channels"}`;
    this.asked = element("span", "channels", asked);
    this.row.append(element("span", "name", this.name), this.state, this.asked, this.counter, this.button);
    $("streams").append(this.row);
    this.show("connecting");
    streams.push(this);
    $("no-streams").hidden = true;

    this.live = connect(transport === "ws" ? "/ws" : "/events", { transport, channels, snapshot });
    this.live.on("state", ({ state, reason }) => this.became(state, reason));
    this.live.on("message", (message) => this.heard(message, `on ${message.channel || '""'}`));
    this.live.on("snapshot", (message) => this.heard(message, "the last values"));
    this.live.on("lagged", ({ lost }) => log(this.name, `${lost} ${lost === 1 ? "message was" : "messages were"} lost`));
    this.live.on("reset", ({ reason }) => log(this.name, `messages may be missing: ${reason}`));
    this.live.on("refused", ({ channels }) => { this.asked.textContent = `${asked}; refused: ${channels.join(", ")}`; });
  }

  show(text, className = "") {
    if (text !== "connecting") this.settle(text);
    this.state.textContent = text;
    this.state.className = `state ${className}`;
    refresh();
  }

  heard({ text, event, id }, about) {
    this.count += 1;
    this.counter.textContent = this.count === 1 ? "1 message" : `${this.count} messages`;
    log(this.name, text, [about, event && event !== "snapshot" && `event ${event}`, id && `id ${id}`].filter(Boolean).join(" · "));
  }

  became(state, reason) {
    if (state === "open") this.opened();
    else if (state === "waiting") this.waits(reason);
    else if (state === "stopped") this.stopped(reason);
  }

  opened() {
    if (this.reason) log(this.name, "back, authenticated again");
    this.admitted = true;
    this.reason = null;
    this.show("open", "open");
  }

  /** It comes back: the server said why it ended the stream, or the connection is gone, or was not made. */
  waits(reason) {
    if (this.said(reason)) this.show(`closed: ${reason}, coming back`);
    else if (!this.admitted) this.show("not admitted, trying again");
    else if (!this.reason) this.show("lost, coming back");
    this.admitted = false;
  }

  stopped(reason) {
    if (reason === "closed") return this.end("closed", "left");
    if (this.said(reason)) this.end(`closed: ${reason}`, "over");
    else this.end(REFUSED[reason] ?? `refused: ${reason}`, "over");
    if (reason === "unauthenticated") log(this.name, "not let in again: its session has ended");
    if (reason !== "unauthenticated" && reason !== "logged_out") return;
    stillSignedIn(LOSS[this.reason] ?? "the server does not know its session any more").catch(() => {});
  }

  /** Logs the server's reason of an end, if it is one. */
  said(reason) {
    if (!(reason in MEANING)) return false;
    this.reason = reason;
    log(this.name, `closed: ${reason} (${MEANING[reason]})`);
    return true;
  }

  /** The person closes it, or removes the row of one that is over. */
  leave() {
    if (!this.over) {
      this.live.close();
      return;
    }
    streams.splice(streams.indexOf(this), 1);
    removeRow(this.row, $("streams-title"));
    $("no-streams").hidden = streams.length > 0;
    aside(`${this.name} was removed`);
  }

  end(text, className) {
    this.over = true;
    this.button.textContent = "Remove";
    this.button.setAttribute("aria-label", `Remove ${this.name}`);
    this.show(text, className);
  }
}

function closeButton(what, close) {
  const button = element("button", "quiet", "Close");
  button.type = "button";
  button.setAttribute("aria-label", `Close ${what}`);
  button.addEventListener("click", close);
  return button;
}

/** Removes a row of a list; a focus in it goes on to a neighbour. */
function removeRow(row, title) {
  const neighbour = row.nextElementSibling ?? row.previousElementSibling ?? title;
  const focused = row.contains(document.activeElement);
  row.remove();
  if (focused) neighbour.focus();
}

on("listen", "submit", "listen-answer", async () => {
  const transport = new FormData($("listen")).get("transport");
  const listening = streams.filter((other) => other.transport === "sse" && !other.over).length;
  if (transport === "sse" && listening >= MAX_EVENT_STREAMS) {
    throw new Error(`A browser keeps few connections to one server: close one of the ${MAX_EVENT_STREAMS} event streams first.`);
  }
  const stream = new Stream(transport, names("channels"), $("snapshot").checked);
  answer("listen-answer", `${stream.name} is connecting.`);
  const state = await stream.settled;
  if (state !== "open") throw new Error(`${stream.name}: ${state}`);
  return `${stream.name} was opened.`;
});

/** Adds a message, or what happened to a stream, about which nothing more is known. */
function log(from, text, about) {
  const list = $("log");
  const pane = list.parentElement;
  const atEnd = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 40;
  const entry = element("li", about ? "" : "event");
  const now = new Date();
  const time = element("time", "", now.toLocaleTimeString([], { hour12: false }));
  time.dateTime = now.toISOString();
  entry.append(time, element("span", "from", from), element("pre", "", text));
  if (about) entry.append(element("span", "about", about));
  list.append(entry);
  while (list.children.length > MAX_LOG) list.firstElementChild.remove();
  if (atEnd) pane.scrollTop = pane.scrollHeight;
  $("no-messages").hidden = true;
}

$("clear").addEventListener("click", () => {
  $("log").replaceChildren();
  $("no-messages").hidden = false;
  $("no-messages").scrollIntoView({ block: "nearest" });
  aside("The messages were cleared.");
});

// --- broadcasting, and writing to one account or session ---

on("broadcast", "submit", "broadcast-answer", async () => {
  const json = $("json").value;
  if (new Blob([json]).size > MAX_BODY) throw new Error("413: the body is too large: 1 MiB at most");
  const to = new FormData($("broadcast")).get("to");
  const channel = encodeURIComponent($("channel").value);
  const event = $("event").value ? `event=${encodeURIComponent($("event").value)}` : "";
  const path = to === "channel" ? `/api/channels/${channel}?${event}`
    : `/api/identities/${to}/${encodeURIComponent($("recipient").value)}/messages?channel=${channel}&${event}`;
  const report = await call("POST", path, json);
  return `Matched ${report.matched}, accepted ${report.accepted}\nid ${report.id}`;
});

$("broadcast").addEventListener("change", ({ target }) => {
  if (target.name !== "to") return;
  const one = target.value !== "channel";
  $("recipient").hidden = !one;
  $("recipient").required = one;
  $("send").textContent = one ? "Send" : "Broadcast";
  if (one && me) $("recipient").value = me[target.value];
});

$("json").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("broadcast").requestSubmit();
});

// --- every stream of the server ---

const MAX_ROWS = 20;
const POLL_MS = 2000;
const rows = new Map();
let refusedToken = null; // with which the list was refused: another try would only be one more wrong guess
let pollTimer;

async function showSubscribers() {
  clearTimeout(pollTimer);
  if (document.hidden || refusedToken === $("admin-token").value) return;
  const token = $("admin-token").value;
  try {
    const { subscribers, next } = await call("GET", `/api/subscribers?limit=${MAX_ROWS}`);
    const now = Date.now();
    for (const [id, row] of rows) {
      if (!subscribers.some((subscriber) => subscriber.id === id)) removeSubscriber(id, row);
    }
    subscribers.forEach((subscriber) => showSubscriber(subscriber, now));
    const count = rows.size ? `The first ${MAX_ROWS} of more.` : "No stream is open.";
    $("subscribers-hint").textContent = rows.size && next === null ? "" : count;
  } catch (error) {
    if (error.status === 401 || error.status === 403) refusedToken = token;
    rows.forEach((row, id) => removeSubscriber(id, row));
    $("subscribers-hint").textContent = error.status === 401 ? "For administrators: enter the admin token under Account." : error.message;
  }
  clearTimeout(pollTimer);
  pollTimer = setTimeout(showSubscribers, POLL_MS);
}

function removeSubscriber(id, { row }) {
  rows.delete(id);
  removeRow(row, $("subscribers-title"));
}

function showSubscriber({ id, since, identities, channels, transport, kind, queued_messages, queued_bytes, lost }, now) {
  const value = (kind) => identities.find((identity) => identity.kind === kind)?.value;
  const account = value("account") ?? identities[0]?.value ?? "no identity";
  let shown = rows.get(id);
  if (!shown) {
    const row = element("li");
    row.tabIndex = -1;
    const [facts, served, name] = [element("span", "channels"), element("span", "state left"), `${account} over ${transport}`];
    const button = closeButton(`the stream of ${name}`, () => closeSubscriber(id, name));
    row.append(element("span", "name", name), served, facts, button);
    $("subscribers").append(row);
    rows.set(id, shown = { row, facts, served });
  }
  const age = Math.max(0, Math.round((now - since) / 1000));
  shown.served.textContent = kind;
  shown.facts.textContent = [
    me && value("session") === me.session && "this session",
    `hears ${channels ? channels.join(", ") || "nothing" : "all channels"}`,
    queued_messages ? `${queued_messages} waiting (${queued_bytes} bytes)` : "none waiting",
    lost && `${lost} lost`,
    `open for ${age < 120 ? `${age} s` : `${Math.round(age / 60)} min`}`,
  ].filter(Boolean).join(" · ");
}

async function closeSubscriber(id, name) {
  try {
    const { closed } = await call("DELETE", `/api/subscribers/${encodeURIComponent(id)}`);
    const done = closed ? `The stream of ${name} was closed. It comes back if it may.` : `The stream of ${name} had ended.`;
    answer("subscribers-answer", done, "good");
  } catch (error) {
    answer("subscribers-answer", error.message, "bad");
  }
  refresh();
}

document.addEventListener("visibilitychange", () => refresh());
$("admin-token").addEventListener("change", () => refresh());

// --- the server's counts ---

let refreshTimer;

/** Soon, and once for many changes. */
function refresh() {
  clearTimeout(refreshTimer);
  refreshTimer = setTimeout(() => {
    showStats();
    showSubscribers();
  }, 150);
}

async function showStats() {
  const counts = (object) => Object.entries(object).filter(([, n]) => n > 0).map(([name, n]) => `${name || '""'}\u00a0${n}`).join(" · ") || "none";
  let stats;
  try {
    stats = await call("GET", "/api/stats");
  } catch {
    return; // the streams show that the server is gone
  }
  const facts = [
    ["Streams", counts(stats.transports)],
    ["Filters", `${stats.channels_named} channels named · ${stats.unfiltered} hear all`],
    ["Closed", counts(stats.closed)],
    ["Refused", counts(stats.refused)],
    ["Sessions", `${stats.sessions} (${stats.accounts} ${stats.accounts === 1 ? "account" : "accounts"})`],
    ["Broadcasts", stats.broadcasts],
  ];
  $("stats").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
}

stillSignedIn("").catch((error) => notify(error.message));
refresh();
