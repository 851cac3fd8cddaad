// Drives a JavaScript registry for `registry-conform`. Without arguments, the one in `registry.mjs`; or any module:
//
//   node adapter.mjs MODULE [CLASS] [key=value ...]
//
// The class has `subscribe(stream, options)` (channels, scope, groups; or channels, identity) or `subscribe(stream, channels,
// identity)`, which returns a function that unsubscribes (or an object with `unsubscribe` or `close`), `broadcast`,
// `close_by_identity` or `closeByIdentity`, and may have `count`, `begin` and `shutdown`. Promises are awaited. What cannot
// be guessed is said by keys: call=options|positional, cap=NAME (the constructor's option that caps a scope; cap=positional:
// its first argument), send_failure=keep|close|drop, delivery=async, full_scope=refuse_new, empty_channels=none, order=total,
// reentrancy=refused.
// @ts-check
import { createInterface } from "node:readline";
import { writeSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [place, ...words] = process.argv.slice(2);
const said = Object.fromEntries(words.filter((word) => word.includes("=")).map((word) => word.split("=")));
const module = await import(place ? pathToFileURL(place).href : new URL("registry.mjs", import.meta.url).href);
const named = words.find((word) => !word.includes("="));
const classes = Object.values(module).filter((value) => typeof value === "function" && value.prototype?.broadcast);
const Registry = named ? module[named] : classes[0];
if (!Registry) throw new Error("the module exports no class with a method broadcast");
const proto = Registry.prototype;
const has = (/** @type {string} */ name) => name in proto;
// The parameters tell the calls apart; a default value ends what `length` counts, so the text decides.
const parameters = String(proto.subscribe).match(/\(([^]*?)\)\s*\{/)?.[1] ?? "";
const positional = said.call ? said.call === "positional"
  : proto.subscribe.length >= 3 || /^[^{]*channels[^{]*,\s*identity/i.test(parameters.replace(/=\s*(\[\]|\{\})/g, ""));
const single = positional || (/identity/.test(String(proto.subscribe)) && !/groups/.test(String(proto.subscribe)));
const cap = place ? said.cap : "cap";
const policies = Object.fromEntries(["send_failure", "delivery", "full_scope", "empty_channels", "order", "reentrancy"]
  .filter((key) => said[key]).map((key) => [key, said[key]]));
if (!place) policies.order = "total";
const profiles = ["core", ...(cap ? ["scope_cap"] : []), ...(has("begin") ? ["admission"] : [])];
const features = [...(has("count") || !place ? ["count"] : []), ...(single ? [] : ["groups"]), ...(has("shutdown") ? ["shutdown"] : []), ...(place ? [] : ["reasons"])];

const nothing = () => {};
const then = (/** @type {any} */ value, /** @type {(value: any) => any} */ use) => (typeof value?.then === "function" ? value.then(use) : use(value));
process.on("unhandledRejection", (error) => console.error("a promise that nobody awaited failed:", error));

/** Runs one script on a fresh registry. @param {any} script @param {number} fuel @param {(events: object[]) => void} spent */
async function run(script, fuel, spent) {
  const events = /** @type {any[]} */ ([]);
  const [registries, subs, tickets] = [new Map(), new Map(), new Map()];
  const options = (/** @type {number} */ n) => (cap === "positional" ? n : { [cap ?? ""]: n });
  const make = () => new Registry(...(cap && script.cap !== undefined ? [options(script.cap)] : []));
  const registry = (/** @type {number} */ n = 0) => registries.get(n) ?? registries.set(n, make()).get(n);
  const calls = /** @type {Record<string, number>} */ ({});
  let promised = false;

  const stream = (/** @type {number} */ sink) => {
    const hook = (/** @type {"send" | "close"} */ on, /** @type {object} */ what) => {
      events.push({ e: on, sink, ...what });
      if (--fuel < 0) { events.push({ e: "fuel" }); spent(events); }
      const nth = (calls[on + sink] = (calls[on + sink] ?? 0) + 1);
      const rule = script.sinks?.[sink]?.rules.find((/** @type {any} */ rule) => rule.on === on && rule.nth === nth);
      rule?.do?.forEach(step);
      const threw = (rule?.then ?? "ok") !== "ok";
      events.push({ e: on === "send" ? "sent" : "closed", sink, threw });
      if (threw) throw new Error("the script says so");
    };
    // Payloads are strings; a registry may wrap one in an object as `data`, and may encode it as JSON.
    const plain = (/** @type {any} */ arg) => { try { const text = JSON.parse(arg); return typeof text === "string" ? text : arg; } catch { return arg; } };
    const send = (/** @type {any[]} */ ...args) => hook("send", { data: String(plain(args.map((arg) => arg?.data ?? arg).findLast((arg) => typeof arg === "string"))) });
    const close = (/** @type {any} */ reason) => hook("close", typeof reason === "string" ? { reason } : {});
    return { send, write: send, writeSSE: send, push: send, enqueue: send, close, end: close };
  };
  const subscribe = (/** @type {any} */ target, /** @type {any} */ op) => {
    const channels = op.channels && [...op.channels];
    const groups = [...(op.groups ?? [])];
    // One object for each sink, so that one that is subscribed twice is one that is subscribed twice.
    const sink = streams[op.sink] ??= stream(op.sink);
    const options = { ...(channels && { channels }), ...(op.scope !== undefined && { scope: op.scope }), ...(groups.length && (single ? { identity: groups[0] } : { groups })) };
    const handle = positional && !target.admit ? target.subscribe(sink, channels, groups[0] ?? op.scope) : (target.admit ?? target.subscribe).call(target, sink, options);
    return then(handle, (handle) => {
      if (channels && op.overwrite !== undefined) { channels.fill(op.overwrite); channels.push(op.overwrite); }
      if (!handle) return { refused: true };
      subs.set(op.sub, typeof handle === "function" ? handle : () => (handle.unsubscribe ?? handle.close).call(handle));
    });
  };
  const streams = /** @type {Record<number, object>} */ ({});
  const act = /** @type {Record<string, (op: any, target: any) => any>} */ ({
    sub: (op, target) => subscribe(target, op),
    unsub: (op) => then(subs.get(op.sub)(), nothing),
    cast: (op, target) => then(target.broadcast(op.channel, op.data), nothing),
    revoke: (op, target) => then((target.close_by_identity ?? target.closeByIdentity).call(target, op.identity), (n) => ({ n })),
    count: (_, target) => ({ n: typeof target.count === "function" ? target.count() : target.count }),
    begin: (op, target) => { tickets.set(op.ticket, target.begin()); },
    admit: (op) => subscribe(tickets.get(op.ticket), op),
    abandon: (op) => { tickets.get(op.ticket).abandon(); },
    shutdown: (_, target) => { target.shutdown(); },
    settle: () => {},
  });
  const skipped = (/** @type {any} */ op) => (op.op === "unsub" ? !subs.has(op.sub) : "ticket" in op && op.op !== "begin" && !tickets.has(op.ticket));
  const err = (/** @type {any} */ op, /** @type {unknown} */ error) => events.push({ e: "err", op: op.id, error: String(error) });
  // From inside a sink nothing can be awaited: what returns a promise there is not judged.
  const step = (/** @type {any} */ op) => {
    if (skipped(op)) return;
    events.push({ e: "call", op: op.id });
    try {
      const done = act[op.op](op, registry(op.registry));
      if (done?.then) { promised = true; done.then(nothing, nothing); }
      events.push({ e: "ret", op: op.id, ...done });
    } catch (error) { err(op, error); }
  };

  try { registry(); } catch (error) { return [{ e: "unbuilt", error: String(error) }]; }
  for (const op of script.steps) {
    if (skipped(op)) continue;
    events.push({ e: "call", op: op.id });
    try {
      let done = act[op.op](op, registry(op.registry));
      if (done?.then) done = await done;
      if (op.op === "settle" && policies.delivery === "async") for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
      events.push({ e: "ret", op: op.id, ...done });
    } catch (error) { err(op, error); }
  }
  return promised ? null : events;
}

const write = (/** @type {object} */ message) => {
  let rest = Buffer.from(JSON.stringify(message) + "\n");
  while (rest.length) try { rest = rest.subarray(writeSync(1, rest)); } catch (error) { if (/** @type {any} */ (error).code !== "EAGAIN") throw error; }
};
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.type === "hello") write({ type: "hello", protocol: 1, name: place ?? "registry.mjs", language: "javascript", profiles, features, policies });
  else if (request.type === "run") {
    const spent = (/** @type {object[]} */ events) => { write({ type: "trace", id: request.id, events }); process.exit(0); };
    const events = await run(request.script, request.fuel, spent);
    write(events ? { type: "trace", id: request.id, events } : { type: "unsupported", id: request.id, need: "calls from inside a sink that return no promise" });
  } else break;
}
process.exit(0);
