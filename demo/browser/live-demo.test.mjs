// Runs transport-core/live.js on Node, against the demo. DEMO=<path> names a built one; otherwise cargo builds it.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { watch } from "./scripted.mjs";
import { call, startServer, stopAll, stopServer } from "./server.mjs";

after(stopAll);

/** Starts the demo and signs somebody in; its broadcasts and its end are calls of the API. */
async function demo(t) {
  const { server, url } = await startServer("--listen", "127.0.0.1:0");
  t.after(() => stopServer(server));
  const signIn = () => call("POST", `${url}/api/sessions`, { account: "ada" });
  return { url, signIn, ...(await signIn()), broadcast: (path, json) => call("POST", `${url}/api/channels/${path}`, json) };
}

for (const [transport, path] of [["sse", "/events"], ["ws", "/ws"]]) {
  test(`the demo over ${transport}: names, a revocation, a renewal and a log-out`, async (t) => {
    const { url, signIn, token, broadcast } = await demo(t);
    let session;
    const renew = async () => {
      const login = await signIn();
      session = login.session;
      return login.token;
    };
    const seen = watch(t, url + path, { transport, token, renew, channels: ["runs", "jobs"] });
    const created = [];
    seen.live.onEvent("created", ({ channel, data }) => created.push([channel, data]));
    const open = () => seen.live.state.state === "open";
    await seen.until(open);
    await broadcast("runs?event=created", { run: 1 });
    await broadcast("jobs", { job: 1 });
    await broadcast("elsewhere", 1);
    await seen.until(() => seen.heard.length === 2);
    assert.deepEqual(created, [["runs", { run: 1 }]]);
    assert.deepEqual(seen.heard.map(({ channel, event, data }) => [channel, event, data]),
      [["runs", "created", { run: 1 }], ["jobs", null, { job: 1 }]]);
    assert.deepEqual(await call("DELETE", `${url}/api/accounts/ada`), { closed: 1 });
    await seen.until(() => session !== undefined && open());
    assert.deepEqual(seen.names().slice(2), ["waiting: revoked", "connecting", "waiting: unauthenticated", "connecting", "open"]);
    await broadcast("runs", { run: 2 });
    await seen.until(() => seen.heard.length === 3);
    assert.equal(seen.live.lastId, seen.heard[2].id);
    if (transport === "ws") await assert.rejects(seen.live.send("hello"), { code: "unsupported" });
    assert.deepEqual(await call("PUT", `${url}/api/accounts/ada/channels`, { channels: ["jobs"] }), { closed: 1 });
    await seen.until(() => seen.told.length === 1 && open());
    assert.deepEqual(seen.told[0][1].channels, ["runs"]);
    assert.deepEqual(await call("DELETE", `${url}/api/sessions/${session}`), { closed: 1 });
    assert.equal(await seen.stopped(), "logged_out");
  });
}

test("the demo sends the last values first, again after each return", async (t) => {
  const { url, token, broadcast } = await demo(t);
  await broadcast("runs", { run: 1 });
  for (const [transport, path] of [["sse", "/events"], ["ws", "/ws"]]) {
    const seen = watch(t, url + path, { transport, token, snapshot: true });
    await seen.until(() => seen.heard.length === 1);
    await broadcast("runs", { run: transport });
    await seen.until(() => seen.heard.length === 2);
    await call("PUT", `${url}/api/accounts/ada/channels`, { channels: ["runs"] });
    await seen.until(() => seen.heard.length === 3);
    assert.deepEqual(seen.heard.map(({ event }) => event), ["snapshot", null, "snapshot"]);
    assert.deepEqual(seen.heard[2].data, { channels: { runs: { run: transport } } });
    seen.live.close();
  }
});
