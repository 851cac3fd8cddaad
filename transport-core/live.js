// @ts-check
// Keeps a page, or a program on Node, connected to a live server: docs/protocol.md. It needs no other file: serve or copy it.

/** @typedef {"back" | "renew" | "stop"} Then comes back; renews its credential and comes back; stays away */
/** @typedef {{ id: string | null, channel: string | null, event: string | null, data: any, text: string }} Message `text` is
 *    the data as JSON, as the server wrote it */
/** @typedef {{ state: "connecting" | "open" | "waiting" | "stopped", reason: string | null, ms: number }} State the reason of
 *    the end after which it waits or has stopped, and how long it waits */
/** @typedef {{ message: Message, snapshot: Message, lagged: { lost: number }, reset: { reason: string },
 *    refused: { channels: string[] }, reply: { ref?: number | string, data: any }, state: State }} Kinds */
/** @typedef {object} Options
 * @property {"sse" | "ws"} [transport] an event stream (the default), or a WebSocket that speaks `live.v1`
 * @property {string[]} [channels] hears only these; without them, all that is granted
 * @property {boolean} [snapshot] asks for the state first
 * @property {string} [token] the credential; without it, the cookies are
 * @property {(reason: string) => unknown} [renew] renews the credential; may return a new token, or a promise of one
 * @property {string} [lastId] the id to resume after
 * @property {any} [WebSocket] the class to use instead of the global one
 * @property {typeof globalThis.fetch} [fetch] the function to use instead of the global one, to add headers or cookies */

/** What the client does after an end or a refusal, and the close codes (from 1000 on) and statuses that tell it. After any
 * other end it comes back. @type {Record<string, [Then, ...number[]]>} */
export const REASONS = {
  revoked: ["back", 4001], heartbeat: ["back", 4003], lagged: ["back", 1013], failed: ["back", 1011], shutdown: ["back", 1001],
  unavailable: ["back", 429, 503, 1013],
  expired: ["renew", 4002], unauthenticated: ["renew", 401, 4401],
  logged_out: ["stop", 4005], evicted: ["stop", 4004], protocol: ["stop", 1007, 1008, 1009],
  forbidden: ["stop", 403, 4403], malformed: ["stop", 400, 426],
};

function reasonOf(/** @type {number} */ code, text = "") {
  const known = Object.keys(REASONS).filter((reason) => REASONS[reason].includes(code));
  if (known.length > 0) return known.includes(text) ? text : known[0];
  return [408, 425].includes(code) ? "lost" : code < 500 ? "malformed" : code < 600 ? "failed" : "lost";
}

/** Makes a parser of event streams. A chunk may end anywhere, within a character or a CRLF too.
 * @param {(name: string, data: string, id: string | null) => void} onEvent
 * @param {(ms: number) => void} onRetry @param {() => void} onComment */
export function parser(onEvent, onRetry, onComment) {
  const utf8 = new TextDecoder(); // it leaves out a byte order mark at the beginning
  let data = /** @type {string[]} */ ([]), id = /** @type {string | null} */ (null), name = "", rest = "", endedInCr = false;
  const take = (/** @type {string} */ line) => {
    const [field, value] = [line.split(":", 1)[0], line.replace(/^[^:]*:? ?/, "")];
    if (line === "") {
      if (data.length > 0) onEvent(name, data.join("\n"), id);
      [name, data, id] = ["", [], null];
    } else if (field === "") onComment();
    else if (field === "event") name = value;
    else if (field === "data") data.push(value);
    else if (field === "id" && !value.includes("\0")) id = value;
    else if (field === "retry" && /^\d+$/.test(value)) onRetry(Number(value));
  };
  return (/** @type {Uint8Array} */ chunk) => {
    const text = utf8.decode(chunk, { stream: true });
    const lines = (rest + (endedInCr && text[0] === "\n" ? text.slice(1) : text)).split(/\r\n|\r|\n/);
    if (text !== "") endedInCr = text.endsWith("\r");
    rest = lines.pop() ?? "";
    lines.forEach(take);
  };
}

/** Connects, and comes back until it is closed or the reason of an end is one to stay away.
 * @param {string | URL} url of the route @param {Options} [options] */
export function connect(url, options = {}) {
  const { transport = "sse", channels = [], renew, WebSocket = globalThis.WebSocket, fetch = globalThis.fetch } = options;
  if (/[^!-~]/.test(options.token ?? "")) throw new TypeError("a token is ASCII without spaces");
  if (transport === "ws" && !WebSocket) throw new TypeError("there is no WebSocket here: pass one as an option");
  const to = new URL(url, globalThis.document?.baseURI), target = new EventTarget(), over = new AbortController();
  channels.forEach((channel) => to.searchParams.append("channel", channel));
  if (options.snapshot) to.searchParams.set("snapshot", "1");
  if (transport === "sse") to.searchParams.set("envelope", "1");
  else to.protocol = to.protocol.replace("http", "ws");
  let { token, lastId = "" } = options, openedAt = Infinity, refs = 0, wake = () => {}, abort = new AbortController();
  let state = /** @type {State} */ ({ state: "connecting", reason: null, ms: 0 }), socket = /** @type {any} */ (null);
  let retry = /** @type {number | null} */ (null); // the time to come back, if the server has named one
  const sent = /** @type {Map<unknown, { resolve: (data: any) => void, reject: (error: Error) => void }>} */ (new Map());
  const listen = (/** @type {string} */ key, /** @type {(what: any) => void} */ handler) => {
    const listener = (/** @type {any} */ { detail }) => handler(detail);
    target.addEventListener(key, listener);
    return () => target.removeEventListener(key, listener);
  };
  const emit = (/** @type {string} */ key, /** @type {any} */ detail) => {
    if (key === "reset") lastId = ""; // ids may begin anew
    if (key === "state" || !over.signal.aborted) target.dispatchEvent(new CustomEvent(key, { detail }));
  };
  const enter = (/** @type {State["state"]} */ name, /** @type {string | null} */ reason = null, ms = 0) => {
    if (state.state !== "stopped") emit("state", state = { state: name, reason, ms });
  };
  const opened = () => { if (openedAt === Infinity) { openedAt = Date.now(); enter("open"); } };
  const letGo = () => {
    abort.abort();
    socket = socket?.close();
    sent.forEach(({ reject }, ref) => sent.delete(ref) && reject(new Error("the connection has ended")));
  };
  const stop = (/** @type {string} */ reason) => { enter("stopped", reason); over.abort(); letGo(); wake(); };
  /** Hears a message in its envelope. Of a repeat, only a snapshot counts: it is the state at its id. */
  const hear = (/** @type {string} */ json, /** @type {string | null} */ id) => {
    const { channel, event, data } = JSON.parse(json);
    const head = /^\{("\w+":("([^"\\]|\\.)*"|null),)*"data":/.exec(json);
    const text = head ? json.slice(head[0].length, -1) : JSON.stringify(data);
    const [one, last] = [id ?? "", lastId].map((id) => /^([0-9a-f]{16})-(\d+)$/.exec(id));
    const isRepeat = one && last && one[1] === last[1] && BigInt(one[2]) <= BigInt(last[2]);
    if (!isRepeat) lastId = id ?? lastId;
    const keys = event === "snapshot" ? ["snapshot"] : ["message", `event ${event ?? "message"}`, `channel ${channel}`];
    if (!isRepeat || event === "snapshot") keys.forEach((key) => emit(key, { id, channel, event, data, text }));
  };
  /** Reads an event stream, and returns why it ended. */
  const read = async () => {
    const headers = new Headers({ accept: "text/event-stream", ...(lastId && { "last-event-id": lastId }) });
    if (token) headers.set("authorization", `Bearer ${token}`);
    const response = await fetch(to, { headers, cache: "no-store", signal: abort.signal });
    const after = response.headers.get("retry-after") ?? "", refused = response.headers.get("x-channels-refused");
    const least = Math.max(0, /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - Date.now());
    if (least) retry = least * (1 + Math.random()); // as the server spreads its own times
    if (response.status !== 200) return reasonOf(response.status);
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return "malformed";
    if (refused) emit("refused", { channels: refused.split(",").map(decodeURIComponent) });
    let reason = "";
    const parse = parser((name, data, id) => {
      if (reason !== "") return;
      if (name === "close") return void (reason = String(JSON.parse(data).reason));
      opened();
      if (name === "lagged" || name === "reset") emit(name, JSON.parse(data));
      else hear(data, id);
    }, (ms) => { retry = ms; }, () => { if (reason === "") opened(); });
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    for (let part; reason === "" && !(part = await reader.read()).done;) parse(part.value);
    return reason || "lost";
  };
  /** Speaks `live.v1`, and resolves with why it ended. */
  const speak = () => new Promise((resolve, reject) => {
    if (lastId) to.searchParams.set("last_event_id", lastId);
    const bearer = btoa(token ?? "").replace(/=/g, "").replace(/\+/g, "-").replace(/\//g, "_");
    const own = socket = new WebSocket(String(to), token ? ["live.v1", `bearer.${bearer}`] : ["live.v1"]);
    let timer = /** @type {any} */ (0); // a refusal comes right after the upgrade, and then that opened nothing
    own.onopen = () => { if (own.protocol === "live.v1") timer = setTimeout(opened, 100); else resolve("protocol"); };
    own.onerror = () => {}; // `onclose` follows
    own.onclose = (/** @type {CloseEvent} */ { code, reason }) => { clearTimeout(timer); resolve(reasonOf(code, reason)); };
    own.onmessage = (/** @type {MessageEvent} */ { data: json }) => {
      try {
        const { type, ref, data, code, ...told } = JSON.parse(json), waiting = sent.get(ref);
        if (code === "unavailable") return void (retry = told.retry_ms);
        opened();
        sent.delete(ref);
        if (type === "event") hear(json, told.id);
        else if (type === "error") waiting?.reject(Object.assign(new Error(told.message), { code }));
        else if (type === "ack" || (type === "reply" && waiting)) waiting?.resolve(data);
        else if (["lagged", "reset", "refused", "reply"].includes(type)) emit(type, { ref, data, ...told });
      } catch (error) { reject(error); }
    };
  });
  /** Waits for a time, and then until the page is seen and the network is there. */
  const pause = (/** @type {number} */ ms) => new Promise((resolve) => {
    let due = false;
    const timer = setTimeout(() => { due = true; wake(); }, ms);
    (wake = () => {
      const waits = !due || globalThis.document?.hidden || globalThis.navigator?.onLine === false;
      if (over.signal.aborted || !waits) resolve(clearTimeout(timer));
    })();
  });
  globalThis.document?.addEventListener("visibilitychange", () => wake(), { signal: over.signal });
  globalThis.addEventListener?.("online", () => wake(), { signal: over.signal });
  queueMicrotask(async () => {
    for (let tries = 0, renewed = false; !over.signal.aborted;) {
      [openedAt, retry, abort] = [Infinity, null, new AbortController()];
      enter("connecting");
      const ended = transport === "ws" ? speak() : read();
      const reason = await ended.catch((error) => error instanceof SyntaxError ? "protocol" : "lost");
      letGo();
      const then = REASONS[reason]?.[0];
      if (then === "stop" || (reason === "unauthenticated" && (renewed || !renew))) return stop(reason);
      if (Date.now() - openedAt > 5000) tries = 0;
      renewed = then === "renew" || (renewed && openedAt === Infinity);
      const ms = Math.min(retry ?? Math.random() * Math.min(30_000, 1000 * 2 ** tries++), 86_400_000);
      enter("waiting", reason, ms);
      try { if (then === "renew" && !over.signal.aborted) token = /** @type {any} */ (await renew?.(reason)) ?? token; }
      catch { renewed = false; } // perhaps the network was away: it is asked again
      await pause(ms);
    }
  });
  return {
    get state() { return state; }, get lastId() { return lastId; },
    /** Calls the handler with each of a kind; `message` is every message. Returns a function that ends that.
     * @template {keyof Kinds} K @param {K} kind @param {(what: Kinds[K]) => void} handler */
    on(kind, handler) { return listen(kind, handler); },
    /** The same with each message of a name. @param {string} event @param {(message: Message) => void} handler */
    onEvent(event, handler) { return listen(`event ${event}`, handler); },
    /** The same with each message of a channel. @param {string} channel @param {(message: Message) => void} handler */
    onChannel(channel, handler) { return listen(`channel ${channel}`, handler); },
    /** Sends a message over `live.v1`. The promise has the first reply, or nothing for an ack; an error and the end of the
     * connection reject it. @param {unknown} data @returns {Promise<any>} */
    async send(data) {
      if (socket?.readyState !== 1) throw new Error("there is no open WebSocket");
      socket.send(JSON.stringify({ type: "message", ref: ++refs, data }));
      return new Promise((resolve, reject) => sent.set(refs, { resolve, reject }));
    },
    close() { stop("closed"); },
  };
}
