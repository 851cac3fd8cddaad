// The page of the demo. All text is set as text; the policy of the server forbids the rest.
"use strict";

const $ = (id) => document.getElementById(id);

// A browser gives one server six connections over HTTP/1.1, and an event stream holds one: some are left for calls.
const MAX_EVENT_STREAMS = 4;
const MAX_LOG = 200;
const MAX_BODY = 1 << 20;

// What an end means. After the final ones, coming back is pointless or impolite, so a stream stays closed.
const MEANING = {
  revoked: { final: true, text: "access was revoked" },
  evicted: { final: true, text: "a newer stream of this session took its place" },
  protocol: { final: true, text: "this page broke a rule of the protocol" },
  expired: { final: false, text: "the credential ran out" },
  heartbeat: { final: false, text: "the connection was silent for too long" },
  lagged: { final: false, text: "the page read too slowly" },
  failed: { final: false, text: "the server could not go on with this stream" },
  shutdown: { final: false, text: "the server is shutting down" },
};
const REASON_OF_CODE = { 1001: "shutdown", 1007: "protocol", 1008: "protocol", 1009: "protocol", 1011: "failed", 1013: "lagged",
  4001: "revoked", 4002: "expired", 4003: "heartbeat", 4004: "evicted" };

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
  if (method !== "GET" && response.status === 401) $("admin").hidden = false;
  if (response.status === 204) return null;
  const text = await response.text();
  let answer = {};
  try { answer = JSON.parse(text); } catch { /* not ours: the status tells */ }
  if (!response.ok) throw new Error(`${response.status}: ${answer.error ?? response.statusText}`);
  return answer;
}

function notify(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

/** Runs what a form or button asks for; an error becomes a notice. */
function on(id, event, action) {
  $(id).addEventListener(event, async (happened) => {
    happened.preventDefault();
    try {
      await action();
    } catch (error) {
      notify(error.message);
    }
    refreshStats();
  });
}

// --- who is signed in ---

let me = null;

function setMe(identity) {
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
}

/**
 * Asks the server who we are. When that is nobody any more, the page goes back to its start and says why; streams that
 * wait to come back are given up. Returns whether we are signed in.
 */
async function stillSignedIn(why) {
  const identity = await call("GET", "/api/session");
  if (identity) {
    setMe(identity);
    return true;
  }
  if (me) {
    const was = me.account;
    setMe(null);
    notify(`${was} is signed out: ${why}.`);
    $("account").focus({ preventScroll: true });
  }
  for (const stream of streams) stream.giveUp();
  return false;
}

on("sign-in", "submit", async () => {
  const { session, account } = await call("POST", "/api/sessions", JSON.stringify({ account: $("account").value }));
  setMe({ session, account });
  notify("");
});

on("log-out", "click", () => endSession(me.session));
on("end-session", "submit", () => endSession($("victim-session").value.trim()));
on("revoke-account", "submit", async () => {
  const account = $("victim").value;
  const own = me?.account === account;
  const { closed } = await call("DELETE", `/api/accounts/${encodeURIComponent(account)}`);
  ended(`The account ${account} was revoked`, closed, own);
});

async function endSession(session) {
  const own = me?.session === session;
  const { closed } = await call("DELETE", `/api/sessions/${encodeURIComponent(session)}`);
  ended(own ? "You logged out" : `The session ${session} was logged out`, closed, own);
}

function ended(what, closed, own) {
  const count = closed === 1 ? "1 stream was closed" : `${closed} streams were closed`;
  if (own) {
    setMe(null);
    for (const stream of streams) stream.giveUp();
  }
  notify(`${what}: ${count}.${own ? " Sign in again to go on." : ""}`);
}

// --- streams ---

const streams = [];
let made = 0;

/** One connection and its row: what both transports share. A subclass connects and disconnects. */
class Stream {
  constructor(label, path, channels) {
    this.name = `${label} ${++made}`;
    this.over = false;
    this.count = 0;
    this.tries = 0;
    const query = channels.map((name) => `channel=${encodeURIComponent(name)}`).join("&");
    this.path = query ? `${path}?${query}` : path;

    this.row = element("li");
    this.state = element("span", "state");
    this.counter = element("span", "count", "0 messages");
    this.button = element("button", "quiet", "Close");
    this.button.type = "button";
    this.button.setAttribute("aria-label", `Close ${this.name}`);
    this.button.addEventListener("click", () => this.leave());
    const heard = channels.length ? channels.join(", ") : "all channels";
    this.row.append(element("span", "name", this.name), this.state, element("span", "channels", heard), this.counter, this.button);
    $("streams").append(this.row);
    this.show("connecting");
    streams.push(this);
    $("no-streams").hidden = true;
    this.connect();
  }

  show(text, className = "") {
    this.state.textContent = text;
    this.state.className = `state ${className}`;
    refreshStats();
  }

  opened() {
    this.tries = 0;
    this.show("open", "open");
  }

  heard(json, id) {
    this.count += 1;
    this.counter.textContent = this.count === 1 ? "1 message" : `${this.count} messages`;
    log(this.name, json, id);
  }

  /** The server said why it ends the stream. */
  told(reason) {
    const meaning = MEANING[reason] ?? { final: false, text: reason };
    log(this.name, `closed: ${reason} (${meaning.text})`);
    if (meaning.final) this.end(`closed: ${reason}`, "over");
    else this.show(`closed: ${reason}, coming back`);
    if (reason === "revoked") stillSignedIn("the server revoked its access").catch(() => {});
  }

  /** The person closes it, or removes the row of one that is over. */
  leave() {
    if (!this.over) {
      this.end("closed", "left");
      return;
    }
    streams.splice(streams.indexOf(this), 1);
    this.row.remove();
    $("no-streams").hidden = streams.length > 0;
  }

  /** The session is gone. A stream that is open hears of it from the server, in its own words. */
  giveUp() {
    if (!this.over && !this.state.classList.contains("open")) this.end("closed: signed out", "over");
  }

  end(text, className) {
    this.over = true;
    this.disconnect();
    this.button.textContent = "Remove";
    this.button.setAttribute("aria-label", `Remove ${this.name}`);
    this.show(text, className);
  }
}

/** Comes back by itself, after the time that the server's `retry:` says; so a final end must close it. */
class EventStream extends Stream {
  connect() {
    this.source = new EventSource(this.path);
    this.source.addEventListener("open", () => this.opened());
    this.source.addEventListener("message", (event) => this.heard(event.data, event.lastEventId));
    this.source.addEventListener("close", (event) => this.told(JSON.parse(event.data).reason));
    this.source.addEventListener("error", () => this.broken());
  }

  broken() {
    if (this.over) return;
    if (this.source.readyState !== EventSource.CLOSED) {
      if (!this.state.textContent.includes("coming back")) this.show("lost, coming back");
      return;
    }
    // Refused: the browser does not come back, and does not tell the status either.
    this.end("refused", "over");
    stillSignedIn("the server does not know its session any more").catch(() => {});
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
      if (reason) this.told(reason);
      else this.show("lost, coming back");
      if (!this.over) this.later();
    });
  }

  later() {
    const seconds = Math.min(30, 2 ** this.tries++) * (0.5 + Math.random());
    this.timer = setTimeout(async () => {
      try {
        // A refused upgrade tells the page nothing, so it asks first.
        if (await stillSignedIn("the server does not know its session any more") && !this.over) this.connect();
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

on("listen", "submit", () => {
  const channels = $("channels").value.split(",").map((name) => name.trim()).filter((name) => name);
  if (new FormData($("listen")).get("transport") === "ws") {
    new Socket("WS", "/ws", channels);
  } else if (streams.filter((stream) => stream instanceof EventStream && !stream.over).length < MAX_EVENT_STREAMS) {
    new EventStream("SSE", "/events", channels);
  } else {
    throw new Error(`A browser keeps few connections to one server: close one of the ${MAX_EVENT_STREAMS} event streams first.`);
  }
  notify("");
});

function log(from, text, id) {
  const list = $("log");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const entry = element("li", id === undefined && text.startsWith("closed: ") ? "event" : "");
  const now = new Date();
  const time = element("time", "", now.toLocaleTimeString([], { hour12: false }));
  time.dateTime = now.toISOString();
  entry.append(time, element("span", "from", from), element("pre", "", text));
  if (id) entry.append(element("span", "id", `id ${id}`));
  list.append(entry);
  while (list.children.length > MAX_LOG) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
  $("no-messages").hidden = true;
}

$("clear").addEventListener("click", () => {
  $("log").replaceChildren();
  $("no-messages").hidden = false;
});

// --- broadcasting ---

on("broadcast", "submit", async () => {
  const sent = $("sent");
  sent.className = "";
  sent.textContent = "";
  try {
    const json = $("json").value;
    if (new Blob([json]).size > MAX_BODY) throw new Error("413: the body is too large: 1 MiB at most");
    const report = await call("POST", `/api/channels/${encodeURIComponent($("channel").value)}`, json);
    sent.className = "good";
    sent.textContent = `Matched ${report.matched}, accepted ${report.accepted}\nid ${report.id}`;
  } catch (error) {
    sent.className = "bad";
    sent.textContent = error.message;
  }
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
    ["By channel", counts(stats.unfiltered ? { ...stats.channels, "all channels": stats.unfiltered } : stats.channels)],
    ["Closed", counts(stats.closed)],
    ["Sessions", `${stats.sessions} (${stats.accounts} ${stats.accounts === 1 ? "account" : "accounts"})`],
    ["Broadcasts", stats.broadcasts],
  ];
  $("stats").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
}

stillSignedIn("").catch((error) => notify(error.message));
refreshStats();
