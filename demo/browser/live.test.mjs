// Runs transport-core/live.js on Node, against servers whose answers are written here.
//
//     npm ci && npm test

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { REASONS, connect, parser } from "../../transport-core/live.js";
import { data, event, farewell, jitter, scripted, scriptedSockets, status, stream, watch } from "./scripted.mjs";

// --- the table ---

const protocol = readFileSync(new URL("../../docs/protocol.md", import.meta.url), "utf8");
const table = (title) => {
  const section = protocol.split(`\n## ${title}\n`)[1].split("\n## ")[0];
  const rows = section.split("\n").filter((line) => line.startsWith("|")).slice(2);
  return rows.map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()));
};
const codes = (...cells) => cells.join(" ").match(/\b\d{3,4}\b/g)?.map(Number) ?? [];
const meaning = (text) => {
  if (/^renews its credential/.test(text)) return "renew";
  if (/^comes back/.test(text)) return "back";
  assert.match(text, /^(does not come back by itself|is to be corrected)$/);
  return "stop";
};

test("the table of reasons is that of docs/protocol.md", () => {
  const ends = table("Ends").map(([reason, , code, then]) => [reason.replace(" ", "_"), meaning(then), ...codes(code)]);
  const refusals = table("Refusals").map(([status, , code, then]) => {
    const all = codes(status, code.replace(/`\d+`|as it is.*/g, ""));
    const reason = Object.keys(REASONS).find((reason) => REASONS[reason].includes(all[0]));
    return [reason, meaning(then), ...all];
  });
  const sorted = (rows) => rows.map(([reason, then, ...codes]) => [reason, then, ...codes.sort()]).sort();
  assert.deepEqual(sorted([...ends, ...refusals]), sorted(Object.entries(REASONS).map(([reason, row]) => [reason, ...row])));
});

// --- the parser ---

/** What a parser tells of chunks. */
function parsed(chunks) {
  const told = [];
  const parse = parser((...event) => told.push(event), (ms) => told.push(ms), () => told.push("comment"));
  chunks.forEach(parse);
  return told;
}

test("an event stream is read alike, wherever its chunks are cut and whatever ends its lines", () => {
  const text = "\ufeff: ok\n\nid: a-1\nevent: created\ndata: é☃😀\ndata:  two\ndata\n\nretry: 17\nretry: 1x\n"
    + "data:x\nid: b\0c\nmore: y\n:\n\nevent: nothing\n\nid: 2\ndata: {\ndata: }\n\ndata: cut off\n";
  const expected = ["comment", ["created", "é☃😀\n two\n", "a-1"], 17, "comment", ["", "x", null], ["", "{\n}", "2"]];
  for (const end of ["\n", "\r\n", "\r"]) {
    const bytes = new TextEncoder().encode(text.replaceAll("\n", end));
    assert.deepEqual(parsed([bytes]), expected);
    const drops = [...bytes].flatMap((byte) => [Uint8Array.of(byte), Uint8Array.of()]);
    assert.deepEqual(parsed(drops), expected, "byte by byte");
    for (let at = 1; at < bytes.length; at += 1) {
      assert.deepEqual(parsed([bytes.subarray(0, at), bytes.subarray(at)]), expected, `${JSON.stringify(end)} at ${at}`);
    }
  }
  const mixed = new TextEncoder().encode("data: a\r\ndata: b\rdata: c\n\r");
  assert.deepEqual(parsed([mixed]), [["", "a\nb\nc", null]], "the event is told at its last CR, before another byte comes");
});

// --- event streams ---

test("messages go to the handlers of their names and channels, and their text is the server's", async (t) => {
  const exact = '{ "b": 1.50,\ndata:   "a": 12345678901234567890 }';
  const { url, requests } = await scripted(t, (response) => {
    response.writeHead(200, { "content-type": "text/event-stream", "x-channels-refused": "pay,a%2Cb" });
    response.write(": ok\n\n" + event(1, { run: 1 }, { event: "created" }) + event(2, "\"jobs\",", { channel: "jobs" })
      + `id: 00000000000000af-3\ndata: {"channel":"a\\"b","event":null,"data":${exact}}\n\n`
      + 'event: lagged\ndata: {"lost":3}\n\nevent: reset\ndata: {"reason":"too_old"}\n\n');
  });
  const seen = watch(t, `${url}?x=1`, { channels: ["runs", "a,b&c"], snapshot: true });
  const [created, nameless, jobs] = [[], [], []];
  seen.live.onEvent("created", ({ id }) => created.push(id));
  seen.live.onEvent("message", ({ id }) => nameless.push(id));
  const end = seen.live.onChannel("jobs", (message) => { jobs.push(message.data); end(); });
  await seen.until(() => seen.told.length === 3);
  assert.deepEqual(seen.names(), ["connecting", "open"]);
  assert.deepEqual(created, ["00000000000000af-1"]);
  assert.deepEqual(nameless, ["00000000000000af-2", "00000000000000af-3"]);
  assert.deepEqual(jobs, ['"jobs",']);
  assert.deepEqual(seen.heard.map(({ channel, event }) => [channel, event]), [["runs", "created"], ["jobs", null], ['a"b', null]]);
  assert.deepEqual(seen.heard.map(({ text }) => text), ['{"run":1}', '"\\"jobs\\","', exact.replace("data: ", "")]);
  assert.deepEqual(seen.told, [
    ["refused", { channels: ["pay", "a,b"] }], ["lagged", { lost: 3 }], ["reset", { reason: "too_old" }],
  ]);
  assert.equal(requests[0].url, "/events?x=1&channel=runs&channel=a%2Cb%26c&snapshot=1&envelope=1");
  assert.equal(requests[0].headers.accept, "text/event-stream");
  assert.equal("last-event-id" in requests[0].headers, false);
  await assert.rejects(seen.live.send(1), /no open WebSocket/);
});

test("a stream that is cut within an event comes back after the last whole one, and repeats are dropped", async (t) => {
  jitter(t, 0);
  const half = event(3, "half").slice(0, -10);
  const { url, requests } = await scripted(t,
    stream(": ok\n\n" + event(1, "one") + event(2, "two") + half, { cut: true }),
    stream(": ok\n\n" + event(2, "two") + event(1, "one") + event(3, "three") + event(10, "ten"), { cut: true }),
    stream(": ok\n\n" + event(9, "nine") + event(1, "again", { epoch: "00000000000000b0" })
      + event("18446744073709551614", "late", { epoch: "00000000000000b0" })
      + event("18446744073709551615", "last", { epoch: "00000000000000b0" })));
  const seen = watch(t, url);
  await seen.until(() => seen.heard.length === 7);
  assert.deepEqual(data(seen), ["one", "two", "three", "ten", "again", "late", "last"]);
  const last = requests.map(({ headers }) => headers["last-event-id"]);
  assert.deepEqual(last, [undefined, "00000000000000af-2", "00000000000000af-10"]);
  assert.deepEqual(seen.names().slice(0, 4), ["connecting", "open", "waiting: lost", "connecting"]);
  assert.equal(seen.live.lastId, "00000000000000b0-18446744073709551615");
});

test("after a reset the ids may begin anew", async (t) => {
  const reset = 'event: reset\ndata: {"reason":"ahead"}\n\n';
  const { url } = await scripted(t, stream(": ok\n\n" + event(5, "five") + event(4, "four") + reset + event(3, "three")));
  const seen = watch(t, url);
  await seen.until(() => seen.heard.length === 2);
  assert.deepEqual([data(seen), seen.live.lastId], [["five", "three"], "00000000000000af-3"]);
});

test("a snapshot is heard though its id is the last one, and only its last part has an id", async (t) => {
  jitter(t, 0);
  const part = (id, data) => `${id}event: snapshot\ndata: {"channel":null,"event":"snapshot","data":${data}}\n\n`;
  const snapshot = part("", "[1]") + part("id: 00000000000000af-2\n", "[2]");
  const { url, requests } = await scripted(t,
    stream(": ok\n\n" + snapshot + event(2, "two") + event(3, "three"), { cut: true }),
    stream(": ok\n\n" + snapshot));
  const seen = watch(t, url, { snapshot: true, lastId: "00000000000000af-1" });
  await seen.until(() => seen.heard.length === 5);
  assert.deepEqual(data(seen), [[1], [2], "three", [1], [2]]);
  assert.deepEqual(requests.map(({ headers }) => headers["last-event-id"]), ["00000000000000af-1", "00000000000000af-3"]);
  assert.equal(seen.live.lastId, "00000000000000af-3", "an older id does not take its place");
});

test("Retry-After is obeyed, as seconds and as a date, and spread up to twice that", async (t) => {
  jitter(t, 0.25);
  const date = () => new Date(Date.now() + 3000).toUTCString();
  const dated = (response) => status(429, { "retry-after": date() })(response);
  const { url } = await scripted(t, status(503, { "retry-after": "1" }), dated);
  const seen = watch(t, url);
  const began = Date.now();
  await seen.until(() => seen.states.length === 4);
  assert.ok(Date.now() - began >= 1240, "it waited");
  assert.deepEqual(seen.names(), ["connecting", "waiting: unavailable", "connecting", "waiting: unavailable"]);
  assert.equal(seen.states[1].ms, 1250);
  assert.ok(seen.states[3].ms > 2000 && seen.states[3].ms <= 3750, `${seen.states[3].ms} ms`);
});

test("a soft refusal opens nothing, and its time is obeyed", async (t) => {
  const soft = 'retry: 30\nevent: close\ndata: {"reason":"unavailable","status":503}\n\n: more\n\n' + event(1, "more");
  const { url } = await scripted(t, stream(soft, { cut: true }), stream(soft), stream(": ok\n\n"));
  const seen = watch(t, url);
  await seen.until(() => seen.live.state.state === "open");
  const waiting = { state: "waiting", reason: "unavailable", ms: 30 };
  const connecting = { state: "connecting", reason: null, ms: 0 };
  assert.deepEqual(seen.states, [connecting, waiting, connecting, waiting, connecting, { ...connecting, state: "open" }]);
  assert.deepEqual(seen.heard, [], "nothing follows a farewell");
  const long = watch(t, (await scripted(t, stream(soft.replace("30", "9".repeat(20))))).url);
  await long.until(() => long.live.state.state === "waiting");
  assert.equal(long.live.state.ms, 86_400_000, "a timer cannot wait for longer than 24 days");
});

test("one 401 renews the credential, and a second one in a row stops", async (t) => {
  jitter(t, 0);
  const opened = stream(": ok\n\n", { cut: true });
  const { url, requests } = await scripted(t, status(401), opened, status(401), status(503), status(401));
  const renewed = [];
  const renew = async (reason) => { renewed.push(reason); return `token ${renewed.length}`; };
  const seen = watch(t, url, { token: "first", renew });
  assert.equal(await seen.stopped(), "unauthenticated");
  assert.deepEqual(renewed, ["unauthenticated", "unauthenticated"], "after it was open, a refusal is a first one again");
  assert.deepEqual(requests.map(({ headers }) => headers.authorization),
    ["first", "token 1", "token 1", "token 2", "token 2"].map((token) => `Bearer ${token}`));
  const refusing = await scripted(t, status(401));
  const without = watch(t, refusing.url);
  assert.deepEqual([await without.stopped(), refusing.requests.length], ["unauthenticated", 1], "nothing would change");
  jitter(t, 0.004);
  let asked = 0;
  const flickering = watch(t, (await scripted(t, status(401))).url,
    { renew: async () => { if (++asked === 1) throw new Error("the network is away"); } });
  assert.deepEqual([await flickering.stopped(), asked], ["unauthenticated", 2], "it was asked again, and then it was enough");
  assert.throws(() => connect(refusing.url, { token: "a token" }), /a token is ASCII/);
});

test("every reason on an event stream leads to what the table says", async (t) => {
  for (const [reason, [then]] of Object.entries(REASONS)) {
    const { url, requests } = await scripted(t, stream(": ok\n\n" + farewell(reason, 7)), stream(": ok\n\n"));
    const renewed = [];
    const seen = watch(t, url, { token: "kept", renew: (reason) => void renewed.push(reason) });
    if (then === "stop") assert.equal(await seen.stopped(), reason);
    else await seen.until(() => seen.names().at(-1) === "open" && requests.length === 2);
    assert.equal(requests.at(-1).headers.authorization, "Bearer kept");
    if (then !== "stop") assert.deepEqual(seen.states[2], { state: "waiting", reason, ms: 7 });
    assert.deepEqual(renewed, then === "renew" ? [reason] : []);
  }
  const { url } = await scripted(t, stream(": ok\n\n" + farewell("constructor", 7)),
    (response) => response.writeHead(200, { "content-type": "text/event-stream" }).end("retry: 3\n: ok\n\n"), status(204));
  const other = watch(t, url);
  assert.equal(await other.stopped(), "malformed", "it came back, and at last there was no stream");
  assert.deepEqual(other.names().filter((name) => /^waiting/.test(name)), ["waiting: constructor", "waiting: lost"]);
});

test("a status that is no stream stops the client, or makes it wait longer each time", async (t) => {
  for (const [code, reason] of [[400, "malformed"], [403, "forbidden"], [404, "malformed"], [426, "malformed"]]) {
    assert.equal(await watch(t, (await scripted(t, status(code))).url).stopped(), reason, String(code));
  }
  assert.equal(await watch(t, (await scripted(t, (response) => response.end("hello"))).url).stopped(), "malformed");
  const garbage = await scripted(t, stream(": ok\n\nid: a\ndata: {\n\n"));
  assert.equal(await watch(t, garbage.url).stopped(), "protocol");
  jitter(t, 0.01);
  const { url } = await scripted(t, status(502));
  const seen = watch(t, url);
  await seen.until(() => seen.states.length >= 14);
  const waits = seen.states.filter(({ state }) => state === "waiting");
  assert.deepEqual(waits.slice(0, 7).map(({ ms }) => ms), [10, 20, 40, 80, 160, 300, 300]);
  assert.equal(waits[0].reason, "failed");
});

test("after some seconds of a stream the waits are short again, and not before", async (t) => {
  jitter(t, 0.01);
  const { now } = Date;
  t.after(() => { Date.now = now; });
  for (const [passes, expected] of [[0, [10, 20, 40]], [6000, [10, 20, 10]]]) {
    let cut;
    const { url } = await scripted(t, status(502), status(502), (response) => {
      stream(": ok\n\n")(response);
      cut = () => response.destroy();
    });
    const seen = watch(t, url);
    const waits = () => seen.states.filter(({ state }) => state === "waiting").map(({ ms }) => ms);
    await seen.until(() => seen.live.state.state === "open");
    Date.now = () => now() + passes;
    cut();
    await seen.until(() => waits().length === 3);
    Date.now = now;
    assert.deepEqual(waits(), expected);
  }
});

test("a client that is closed is silent, and comes back no more", async (t) => {
  const { url, requests } = await scripted(t, stream(": ok\n\n" + event(1, "one") + event(2, "two")));
  const seen = watch(t, url);
  seen.live.on("message", () => seen.live.close());
  seen.live.on("state", ({ state }) => state === "stopped" && seen.live.close());
  assert.equal(await seen.stopped(), "closed");
  assert.deepEqual([data(seen), seen.names(), requests.length], [["one"], ["connecting", "open", "stopped: closed"], 1]);
  await seen.until(() => requests[0].socket.destroyed);
  const early = watch(t, url);
  early.live.close();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual([early.names(), requests.length], [["stopped: closed"], 1]);
  const waiting = watch(t, (await scripted(t, status(503, { "retry-after": "3600" }))).url);
  await waiting.until(() => waiting.live.state.state === "waiting");
  waiting.live.close();
  assert.deepEqual(waiting.names(), ["connecting", "waiting: unavailable", "stopped: closed"]);
  const renewed = [];
  const gone = watch(t, (await scripted(t, status(401))).url, { renew: (reason) => void renewed.push(reason) });
  gone.live.on("state", ({ state }) => state === "waiting" && gone.live.close());
  assert.deepEqual([await gone.stopped(), renewed], ["closed", []]);
});

test("a hidden page and a browser without a network wait before they come back", async (t) => {
  jitter(t, 0);
  const page = Object.assign(new EventTarget(), { hidden: true });
  const network = { onLine: false };
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: network });
  globalThis.document = page;
  const events = new EventTarget();
  globalThis.addEventListener = events.addEventListener.bind(events);
  t.after(() => { delete globalThis.document; delete globalThis.navigator; delete globalThis.addEventListener; });
  const cut = stream(": ok\n\n", { cut: true });
  const { url, requests } = await scripted(t, cut, cut, stream(": ok\n\n"));
  const seen = watch(t, url);
  const set = (hidden, onLine) => {
    Object.assign(page, { hidden });
    Object.assign(network, { onLine });
    page.dispatchEvent(new Event("visibilitychange"));
    events.dispatchEvent(new Event("online"));
  };
  const stillWaits = async (count) => {
    await seen.until(() => seen.live.state.state === "waiting" && requests.length === count);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual([seen.live.state.state, requests.length], ["waiting", count]);
  };
  await stillWaits(1);
  set(true, true);
  await stillWaits(1);
  set(false, false);
  await stillWaits(1);
  network.onLine = true;
  events.dispatchEvent(new Event("online"));
  page.hidden = true;
  await stillWaits(2);
  page.hidden = false;
  page.dispatchEvent(new Event("visibilitychange"));
  await seen.until(() => seen.live.state.state === "open" && requests.length === 3);
});

// --- WebSockets ---

const ws = { transport: "ws" };

test("a WebSocket carries the credential and the last id, and its messages go where those of a stream go", async (t) => {
  jitter(t, 0);
  const message = (seq, event = null) => ({ type: "event", id: `00000000000000af-${seq}`, channel: "runs", event, data: { seq } });
  const { url, requests } = await scriptedSockets(t, ({ say, end }) => {
    say({ type: "refused", channels: ["pay"] });
    say({ type: "event", id: null, channel: null, event: "snapshot", data: { runs: 0 } });
    say(message(1, "created"));
    say({ type: "lagged", lost: 3 });
    say({ type: "news", from: "a later version" });
    say({ ...message(2), more: true });
    end(1001, "shutdown");
  }, ({ say }) => [1, 2, 3].forEach((seq) => say(message(seq))));
  const seen = watch(t, url, { ...ws, channels: ["runs", "pay"], snapshot: true, token: "tok???>~>en" });
  const created = [];
  seen.live.onEvent("created", ({ channel }) => created.push(channel));
  await seen.until(() => seen.heard.length === 4);
  assert.deepEqual(data(seen), [{ runs: 0 }, { seq: 1 }, { seq: 2 }, { seq: 3 }]);
  assert.equal(seen.heard[1].text, '{"seq":1}');
  assert.deepEqual(created, ["runs"]);
  assert.deepEqual(seen.told.map(([kind, { channels, lost }]) => [kind, channels ?? lost]), [["refused", ["pay"]], ["lagged", 3]]);
  assert.deepEqual(seen.names(), ["connecting", "open", "waiting: shutdown", "connecting", "open"]);
  assert.deepEqual(requests.map((request) => request.url), [
    "/ws?channel=runs&channel=pay&snapshot=1", "/ws?channel=runs&channel=pay&snapshot=1&last_event_id=00000000000000af-2",
  ]);
  const [offered, bearer] = requests[0].headers["sec-websocket-protocol"].split(/, ?/);
  assert.deepEqual([offered, Buffer.from(bearer.slice(7), "base64url").toString("latin1")], ["live.v1", "tok???>~>en"]);
  assert.match(bearer, /^bearer\.[\w-]+$/);
});

test("a message is answered by its reply, its ack or its error, and by nothing once the connection has ended", async (t) => {
  const { url } = await scriptedSockets(t, ({ heard, end }) => heard(() => end(1001, "shutdown")), ({ say, heard, end }) => {
    say({ type: "reply", data: "unasked" });
    heard(({ type, ref, data }) => {
      assert.equal(type, "message");
      if (data === "reply") say({ type: "reply", ref, data: [data] });
      if (data === "reply") say({ type: "reply", ref, data: "a second one" });
      if (data === "ack") say({ type: "ack", ref });
      if (data === "error") say({ type: "error", ref, code: "unsupported", message: "not here" });
      if (data === "end") end(4004, "evicted");
    });
  });
  const seen = watch(t, url, ws);
  await assert.rejects(seen.live.send("early"), /no open WebSocket/);
  await seen.until(() => seen.live.state.state === "open");
  await assert.rejects(seen.live.send("at the end"), /the connection has ended/);
  await seen.until(() => seen.told.length === 1);
  const [reply, ack] = await Promise.all([seen.live.send("reply"), seen.live.send("ack")]);
  assert.deepEqual([reply, ack], [["reply"], undefined]);
  await assert.rejects(seen.live.send("error"), { message: "not here", code: "unsupported" });
  const [unanswered, last] = [seen.live.send("nothing"), seen.live.send("end")];
  await assert.rejects(unanswered, /the connection has ended/);
  await assert.rejects(last, /the connection has ended/);
  assert.equal(await seen.stopped(), "evicted");
  assert.deepEqual(seen.told.map(([kind, { data }]) => [kind, data]), [["reply", "unasked"], ["reply", "a second one"]]);
});

test("every close code leads to what the table says", async (t) => {
  jitter(t, 0.004);
  const texts = { unavailable: "unavailable", lagged: "lagged" };
  for (const [reason, [then, ...codes]] of Object.entries(REASONS)) {
    for (const code of codes.filter((code) => code >= 1000)) {
      const { url, requests } = await scriptedSockets(t, ({ say, end }) => {
        if (reason === "unavailable") say({ type: "error", code: "unavailable", retry_ms: 9 });
        end(code, texts[reason]);
      }, () => {});
      const renewed = [];
      const seen = watch(t, url, { ...ws, renew: (reason) => void renewed.push(reason) });
      if (then === "stop") assert.equal(await seen.stopped(), reason);
      else await seen.until(() => seen.live.state.state === "open" && requests.length === 2);
      assert.deepEqual(renewed, then === "renew" ? [reason] : [], reason);
      const waiting = { state: "waiting", reason, ms: reason === "unavailable" ? 9 : 4 };
      assert.deepEqual(seen.states.slice(0, 2).at(-1), then === "stop" ? { ...waiting, state: "stopped", ms: 0 } : waiting);
    }
  }
});

test("a second refusal in a row stops a WebSocket, and so does a server that speaks another protocol", async (t) => {
  jitter(t, 0);
  const refuse = ({ end }) => end(4401, "unauthenticated");
  const { url } = await scriptedSockets(t, ({ end }) => end(4002, "expired"), refuse);
  const renewed = [];
  const seen = watch(t, url, { ...ws, token: "a", renew: (reason) => { renewed.push(reason); return "b"; } });
  assert.equal(await seen.stopped(), "unauthenticated");
  assert.deepEqual([renewed, seen.names().includes("open")], [["expired"], false]);
  const other = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols: () => false });
  await once(other, "listening");
  t.after(() => { other.clients.forEach((socket) => socket.terminate()); other.close(); });
  // The class of a browser accepts a server that selects nothing; that of the package does not.
  const Raw = function Raw(url) { return new WebSocket(url); };
  const lenient = watch(t, `http://127.0.0.1:${other.address().port}`, { ...ws, WebSocket: Raw });
  assert.equal(await lenient.stopped(), "protocol");
  assert.throws(() => connect(url, { ...ws, WebSocket: null }), /there is no WebSocket here/);
});
