// What the tests of live.js share: connections that write down what happens, and servers whose answers are written in the test.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { WebSocket, WebSocketServer } from "ws";
import { connect } from "../../transport-core/live.js";

/** Writes down what a connection goes through and hears. It is closed with its test. */
export function watch(t, url, options) {
  const live = connect(url, { WebSocket, ...options });
  const seen = { live, states: [], heard: [], told: [] };
  live.on("state", (state) => seen.states.push(state));
  for (const kind of ["message", "snapshot"]) live.on(kind, (message) => seen.heard.push(message));
  for (const kind of ["lagged", "reset", "refused", "reply"]) live.on(kind, (what) => seen.told.push([kind, what]));
  seen.names = () => seen.states.map(({ state, reason }) => (reason ? `${state}: ${reason}` : state));
  seen.until = async (holds) => {
    for (const end = Date.now() + 15_000; !holds(seen);) {
      assert.ok(Date.now() < end, `it never came: ${JSON.stringify({ ...seen, live: undefined })}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  seen.stopped = async () => {
    await seen.until(() => live.state.state === "stopped");
    return live.state.reason;
  };
  t.after(() => live.close());
  return seen;
}

/** A server that gives one answer after the other, the last one again and again, and keeps the requests. */
export async function scripted(t, ...answers) {
  const requests = [];
  const server = createServer((request, response) => {
    const answer = answers[Math.min(requests.length, answers.length - 1)];
    requests.push(request);
    answer(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => { server.close(); server.closeAllConnections(); });
  return { url: `http://127.0.0.1:${server.address().port}/events`, requests, server };
}

/** A server of WebSockets, each handed to the next script. */
export async function scriptedSockets(t, ...scripts) {
  const requests = [];
  const handleProtocols = (offered) => (offered.has("live.v1") ? "live.v1" : false);
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols });
  server.on("connection", (socket, request) => {
    const script = scripts[Math.min(requests.length, scripts.length - 1)];
    requests.push(request);
    script({
      say: (message) => socket.send(JSON.stringify(message)),
      end: (code, text) => socket.close(code, text),
      heard: (answer) => socket.on("message", (text) => answer(JSON.parse(text))),
    });
  });
  await once(server, "listening");
  t.after(() => { server.clients.forEach((socket) => socket.terminate()); server.close(); });
  return { url: `http://127.0.0.1:${server.address().port}/ws`, requests };
}

export const status = (code, headers = {}) => (response) => response.writeHead(code, headers).end("{}");
/** An event stream that stays open, or is cut off. */
export const stream = (text, { cut = false } = {}) => (response) => {
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
  response.write(text, () => cut && response.destroy());
};
export const event = (seq, data, { epoch = "00000000000000af", channel = "runs", event = null } = {}) => {
  const name = event === null ? "" : `event: ${event}\n`;
  return `id: ${epoch}-${seq}\n${name}data: ${JSON.stringify({ channel, event, data })}\n\n`;
};
export const farewell = (reason, retry) => `event: close\ndata: {"reason":"${reason}"}\nretry: ${retry}\n\n`;
export const data = ({ heard }) => heard.map((message) => message.data);

/** Fixes the jitter at a part of its range. */
export function jitter(t, part) {
  const { random } = Math;
  Math.random = () => part;
  t.after(() => { Math.random = random; });
}
