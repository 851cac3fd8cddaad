// Drives a JavaScript registry for `registry-conform`. Without arguments, the one in `registry.mjs`; or any module:
//
//   node adapter.mjs MODULE [CLASS] [key=value ...]
//
// The class has `subscribe(stream, options)` or `subscribe(stream, channels, identity)`, which returns a function that
// unsubscribes (or an object with `unsubscribe` or `close`), `broadcast`, `close_by_identity` or `closeByIdentity`, and may
// have `count`, `begin` and `shutdown`. What cannot be guessed is said by keys: call=options|positional,
// cap=NAME (the constructor option that caps a scope), send_failure=keep|close|drop, delivery=async, full_scope=refuse_new,
// empty_channels=none, order=total, reentrancy=refused.
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
const positional = said.call ? said.call === "positional" : proto.subscribe.length >= 3 || /channels[^{}]*,\s*identity/.test(parameters);
const cap = place ? said.cap : "cap";
const policies = Object.fromEntries(["send_failure", "delivery", "full_scope", "empty_channels", "order", "reentrancy"]
  .filter((key) => said[key]).map((key) => [key, said[key]]));
if (!place) policies.order = "total";
const profiles = ["core", ...(cap ? ["scope_cap"] : []), ...(has("begin") ? ["admission"] : [])];
const features = [...(has("count") || !place ? ["count"] : []), ...(positional ? [] : ["groups"]), ...(has("shutdown") ? ["shutdown"] : []), ...(place ? [] : ["reasons"])];

/** Runs one script on a fresh registry. @param {any} script @param {number} fuel @param {(events: object[]) => void} spent */
async function run(script, fuel, spent) {
  const events = /** @type {any[]} */ ([]);
  const [registries, subs, tickets] = [new Map(), new Map(), new Map()];
  const make = () => new Registry(...(cap && script.cap !== undefined ? [{ [cap]: script.cap }] : []));
  const registry = (/** @type {number} */ n = 0) => registries.get(n) ?? registries.set(n, make()).get(n);
  const calls = /** @type {Record<string, number>} */ ({});

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
    // Payloads are strings; whatever a registry wraps around one, it is the argument (or its `data`) that is one.
    const send = (/** @type {any[]} */ ...args) => hook("send", { data: String(args.map((arg) => arg?.data ?? arg).findLast((arg) => typeof arg === "string")) });
    const close = (/** @type {any} */ reason) => hook("close", typeof reason === "string" ? { reason } : {});
    return { send, write: send, writeSSE: send, push: send, enqueue: send, close, end: close };
  };
  const subscribe = (/** @type {any} */ target, /** @type {any} */ op) => {
    const channels = op.channels && [...op.channels];
    const groups = [...(op.groups ?? [])];
    // One object for each sink, so that one that is subscribed twice is one that is subscribed twice.
    const sink = streams[op.sink] ??= stream(op.sink);
    const options = { ...(channels && { channels }), ...(op.scope !== undefined && { scope: op.scope }), ...(groups.length && { groups }) };
    const handle = positional && !target.admit ? target.subscribe(sink, channels, groups[0] ?? op.scope) : (target.admit ?? target.subscribe).call(target, sink, options);
    if (channels && op.overwrite !== undefined) { channels.fill(op.overwrite); channels.push(op.overwrite); }
    if (!handle) return { refused: true };
    subs.set(op.sub, typeof handle === "function" ? handle : () => (handle.unsubscribe ?? handle.close).call(handle));
    return {};
  };
  const streams = /** @type {Record<number, object>} */ ({});
  const act = /** @type {Record<string, (op: any, target: any) => any>} */ ({
    sub: (op, target) => subscribe(target, op),
    unsub: (op) => { subs.get(op.sub)(); },
    cast: (op, target) => { target.broadcast(op.channel, op.data); },
    revoke: (op, target) => ({ n: (target.close_by_identity ?? target.closeByIdentity).call(target, op.identity) }),
    count: (_, target) => ({ n: typeof target.count === "function" ? target.count() : target.count }),
    begin: (op, target) => { tickets.set(op.ticket, target.begin()); },
    admit: (op) => subscribe(tickets.get(op.ticket), op),
    abandon: (op) => { tickets.get(op.ticket).abandon(); },
    shutdown: (_, target) => { target.shutdown(); },
    settle: () => {},
  });
  const step = (/** @type {any} */ op) => {
    if (op.op === "unsub" ? !subs.has(op.sub) : "ticket" in op && op.op !== "begin" && !tickets.has(op.ticket)) return;
    events.push({ e: "call", op: op.id });
    try { events.push({ e: "ret", op: op.id, ...act[op.op](op, registry(op.registry)) }); }
    catch (error) { events.push({ e: "err", op: op.id, error: String(error) }); }
  };

  try { registry(); } catch (error) { return [{ e: "unbuilt", error: String(error) }]; }
  for (const op of script.steps) {
    if (op.op !== "settle") { step(op); continue; }
    events.push({ e: "call", op: op.id });
    if (policies.delivery === "async") for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    events.push({ e: "ret", op: op.id });
  }
  return events;
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
    write({ type: "trace", id: request.id, events: await run(request.script, request.fuel, spent) });
  } else break;
}
process.exit(0);
