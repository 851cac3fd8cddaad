// The page of the demo. All text is set as text; the policy of the server forbids the rest.
"use strict";

const $ = (id) => document.getElementById(id);

// A browser gives one server six connections over HTTP/1.1, and an event stream holds one: some are left for calls.
const MAX_EVENT_STREAMS = 4;
const MAX_LOG = 200;
const MAX_BODY = 1 << 20;

// What an end means. After the final ones, coming back is pointless or impolite, so a stream stays closed. A revocation is not
// final: it asks the client to authenticate again, and a client without a credential is refused then.
const MEANING = {
  revoked: { final: false, text: "access was revoked or changed" },
  logged_out: { final: true, text: "the session was logged out" },
  evicted: { final: true, text: "a newer stream of this session took its place" },
  protocol: { final: true, text: "this page broke a rule of the protocol" },
  expired: { final: false, text: "the credential ran out" },
  heartbeat: { final: false, text: "the connection was silent for too long" },
  lagged: { final: false, text: "the page read too slowly" },
  failed: { final: false, text: "the server could not go on with this stream" },
  shutdown: { final: false, text: "the server is shutting down" },
  unavailable: { final: false, text: "the server has no room, or permissions are being changed" },
};
const REASON_OF_CODE = { 1001: "shutdown", 1007: "protocol", 1008: "protocol", 1009: "protocol", 1011: "failed", 1013: "lagged",
  4001: "revoked", 4002: "expired", 4003: "heartbeat", 4004: "evicted", 4005: "logged_out" };
// Why a credential has ended, by the reason of the last farewell.
const LOSS = { revoked: "the server revoked its access", logged_out: "its session was logged out", expired: "its session ran out" };
const EITHER = new Intl.ListFormat("en", { type: "disjunction" });

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
  if (method !== "GET" && $("admin-token").value) headers.authorization = `Bearer ${$("admin-token").value}`;
  let response;
  try {
    response = await fetch(path, { method, headers, body: json, cache: "no-store" });
  } catch {
    throw new Error("The server does not answer.");
  }
  const needsToken = method !== "GET" && response.status === 401;
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
    refreshStats();
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

/** One connection and its row: what both transports share. A subclass connects and disconnects. */
class Stream {
  constructor(label, path, channels) {
    this.name = `${label} ${++made}`;
    this.channels = channels;
    this.over = false;
    this.admitted = false;
    this.reason = null; // of its last end, until it is admitted again
    this.settled = new Promise((settle) => { this.settle = settle; });
    this.count = 0;
    this.tries = 0;
    const query = channels.map((name) => `channel=${encodeURIComponent(name)}`).join("&");
    this.path = query ? `${path}?${query}` : path;

    this.row = element("li");
    this.row.tabIndex = -1;
    this.state = element("span", "state");
    this.state.setAttribute("role", "status");
    this.counter = element("span", "count", "0 messages");
    this.button = element("button", "quiet", "Close");
    this.button.type = "button";
    this.button.setAttribute("aria-label", `Close ${this.name}`);
    this.button.addEventListener("click", () => this.leave());
    // What it asked for: which of it was granted stands in a header, and those no script can read here.
    const asked = `asks for ${channels.length ? channels.join(", ") : "all channels"}`;
    this.row.append(element("span", "name", this.name), this.state, element("span", "channels", asked), this.counter, this.button);
    $("streams").append(this.row);
    this.show("connecting");
    streams.push(this);
    $("no-streams").hidden = true;
    this.connect();
  }

  show(text, className = "") {
    if (text !== "connecting") this.settle(text);
    this.state.textContent = text;
    this.state.className = `state ${className}`;
    refreshStats();
  }

  opened() {
    if (this.reason) log(this.name, "back, authenticated again");
    this.admitted = true;
    this.reason = null;
    this.tries = 0;
    this.show("open", "open");
  }

  heard(json, id) {
    this.count += 1;
    this.counter.textContent = this.count === 1 ? "1 message" : `${this.count} messages`;
    // A message does not carry its channel; what the stream asked for is all that the page knows.
    const channel = this.channels.length ? `on ${EITHER.format(this.channels)}` : "on any channel";
    log(this.name, json, id ? `${channel} · id ${id}` : channel);
  }

  /** The server said why it ends the stream. */
  noteReason(reason) {
    const meaning = MEANING[reason] ?? { final: false, text: reason };
    this.reason = reason;
    log(this.name, `closed: ${reason} (${meaning.text})`);
    if (meaning.final) this.end(`closed: ${reason}`, "over");
    else this.show(`closed: ${reason}, coming back`);
    if (reason === "logged_out") this.signedIn().catch(() => {});
  }

  /** Asks whether the credential is still good. */
  signedIn() {
    return stillSignedIn(LOSS[this.reason] ?? "the server does not know its session any more");
  }

  /** It came back, and its credential is dead. */
  turnedAway() {
    log(this.name, "not let in again: its session has ended");
    this.end("refused: sign in again", "over");
  }

  /** The connection is gone, or was not made. */
  gone() {
    if (!this.admitted) this.show("not admitted, trying again");
    else if (!this.reason) this.show("lost, coming back");
    this.admitted = false;
  }

  /** The person closes it, or removes the row of one that is over. */
  leave() {
    if (!this.over) {
      this.end("closed", "left");
      return;
    }
    streams.splice(streams.indexOf(this), 1);
    const neighbour = this.row.nextElementSibling ?? this.row.previousElementSibling;
    this.row.remove();
    $("no-streams").hidden = streams.length > 0;
    (neighbour ?? $("streams-title")).focus();
    aside(`${this.name} was removed`);
  }

  end(text, className) {
    this.over = true;
    this.disconnect();
    this.button.textContent = "Remove";
    this.button.setAttribute("aria-label", `Remove ${this.name}`);
    this.show(text, className);
  }
}

/** Comes back by itself, after the time that the server's `retry:` says, until it is refused. */
class EventStream extends Stream {
  connect() {
    this.source = new EventSource(this.path);
    this.source.addEventListener("open", () => this.opened());
    this.source.addEventListener("message", (event) => this.heard(event.data, event.lastEventId));
    this.source.addEventListener("close", (event) => this.noteReason(JSON.parse(event.data).reason));
    this.source.addEventListener("error", () => this.broken());
  }

  async broken() {
    if (this.over) return;
    if (this.source.readyState !== EventSource.CLOSED) {
      this.gone();
      return;
    }
    // The browser stops, and tells neither the status nor the reason; so the page asks.
    try {
      const signedIn = await this.signedIn();
      if (this.over) return;
      if (!signedIn) this.turnedAway();
      else this.end("refused: nothing of it is granted, or there is no room", "over");
    } catch {
      this.end("refused", "over");
    }
  }

  disconnect() {
    this.source.close();
  }
}

/** Comes back by our own hand: later each time, and not all pages at once. */
class Socket extends Stream {
  connect() {
    const socket = new WebSocket(this.path);
    this.socket = socket;
    socket.addEventListener("open", () => this.opened());
    socket.addEventListener("message", (event) => this.heard(event.data));
    socket.addEventListener("close", (event) => {
      if (this.over) return;
      const reason = REASON_OF_CODE[event.code];
      if (reason) this.noteReason(reason);
      if (this.over) return;
      this.gone();
      this.later();
    });
  }

  later() {
    const seconds = Math.min(30, 2 ** this.tries++) * (0.5 + Math.random());
    this.timer = setTimeout(async () => {
      try {
        // A refused upgrade tells the page nothing, so it asks first.
        const signedIn = await this.signedIn();
        if (this.over) return;
        if (signedIn) this.connect();
        else this.turnedAway();
      } catch {
        if (!this.over) this.later();
      }
    }, seconds * 1000);
  }

  disconnect() {
    clearTimeout(this.timer);
    this.socket.close();
  }
}

on("listen", "submit", "listen-answer", async () => {
  const channels = names("channels");
  let stream;
  if (new FormData($("listen")).get("transport") === "ws") {
    stream = new Socket("WS", "/ws", channels);
  } else if (streams.filter((other) => other instanceof EventStream && !other.over).length < MAX_EVENT_STREAMS) {
    stream = new EventStream("SSE", "/events", channels);
  } else {
    throw new Error(`A browser keeps few connections to one server: close one of the ${MAX_EVENT_STREAMS} event streams first.`);
  }
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

// --- broadcasting ---

on("broadcast", "submit", "broadcast-answer", async () => {
  const json = $("json").value;
  if (new Blob([json]).size > MAX_BODY) throw new Error("413: the body is too large: 1 MiB at most");
  const report = await call("POST", `/api/channels/${encodeURIComponent($("channel").value)}`, json);
  return `Matched ${report.matched}, accepted ${report.accepted}\nid ${report.id}`;
});

$("json").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("broadcast").requestSubmit();
});

// --- the server's counts ---

let statsTimer;

/** Soon, and once for many changes. */
function refreshStats() {
  clearTimeout(statsTimer);
  statsTimer = setTimeout(showStats, 150);
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
refreshStats();
