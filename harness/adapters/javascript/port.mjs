// How a registry is called. An adapter for one registry needs a tenth of this: it knows the names, and this has to guess.
//
// Without arguments it is the registry of `registry.mjs`; otherwise a class of another module. Such a class has
//   subscribe(stream, options), with channels, scope and groups, or channels and identity; or
//   subscribe(stream, channels, identity); it returns a function that unsubscribes, or an object that has
//   `unsubscribe` or `close`, or null to refuse;
//   broadcast(channel, data); close_by_identity(identity), or closeByIdentity;
//   and may have count, begin and shutdown. Any of them may return a promise, and may wait for those of `stream`.
//
// Keys say what cannot be guessed: call=options|positional, cap=NAME (the constructor's option that caps a scope;
// cap=positional: its first argument), and the policies of PROTOCOL.md, such as send_failure=keep or delivery=async.
// @ts-check
import { setImmediate } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const [place, ...words] = process.argv.slice(2);
const keys = Object.fromEntries(words.filter((word) => word.includes("=")).map((word) => word.split("=")));
const module = await import(place ? pathToFileURL(place).href : new URL("registry.mjs", import.meta.url).href);
const name = words.find((word) => !word.includes("="));
const Registry = name ? module[name] : Object.values(module).find((value) => value?.prototype?.broadcast);
if (!Registry) throw new Error(`${place} exports no ${name ?? "class with a method broadcast"}`);

// A default value ends what `length` counts, so the text decides.
const text = String(Registry.prototype.subscribe).replace(/=\s*(\[\]|\{\})/g, "");
const positional = keys.call ? keys.call === "positional"
  : Registry.prototype.subscribe.length >= 3 || /^[^{]*channels[^{]*,\s*identity/i.test(text);
const single = positional || (/identity/.test(text) && !/groups/.test(text));
const cap = place ? keys.cap : "cap";

/** @param {number} [most] the cap of a scope */
export function construct(most) {
  if (!cap || most === undefined) return new Registry();
  return new Registry(cap === "positional" ? most : { [cap]: most });
}

/** @param {any} target a registry, or a ticket */
export function subscribe(target, stream, channels, scope, groups) {
  if (positional && !target.admit) return target.subscribe(stream, channels, groups[0] ?? scope);
  const options = Object.fromEntries(Object.entries({
    channels, scope, groups: single || !groups.length ? undefined : [...groups], identity: single ? groups[0] : undefined,
  }).filter(([, value]) => value !== undefined));
  return target.admit ? target.admit(stream, options) : target.subscribe(stream, options);
}

/** @param {any} handle what `subscribe` returned */
export function unsubscribe(handle) {
  if (typeof handle === "function") return handle();
  return handle.unsubscribe ? handle.unsubscribe() : handle.close();
}

/** @param {any} registry @param {string} identity */
export function revoke(registry, identity) {
  return registry.close_by_identity ? registry.close_by_identity(identity) : registry.closeByIdentity(identity);
}

/** @param {any} registry */
export const count = (registry) => (typeof registry.count === "function" ? registry.count() : registry.count);

/** A sink, by all the names that registries have for its calls. */
export function stream(send, close) {
  const take = (...args) => send({ data: payload(args) });
  const end = (reason) => close(typeof reason === "string" ? { reason } : {});
  return { send: take, write: take, writeSSE: take, push: take, enqueue: take, close: end, end };
}

/** Payloads are strings; a registry may hand one over after other things, in an object as `data`, or encoded as JSON. */
function payload(args) {
  const text = args.map((arg) => arg?.data ?? arg).findLast((arg) => typeof arg === "string");
  try {
    const decoded = JSON.parse(text);
    return typeof decoded === "string" ? decoded : text;
  } catch {
    return String(text);
  }
}

/** Whether the registry waits for what `send` and `close` return: promises that are watched tell. */
export const awaits = { send: false, close: false };
/** Whether any of its own calls returns a promise. */
export let promises = false;
const watched = (call) => class extends Promise {
  then(...args) { awaits[call] = true; return super.then(...args); }
}.resolve();
const probe = construct();
const sink = stream(() => watched("send"), () => watched("close"));
for (const call of [
  () => subscribe(probe, sink, ["a"], undefined, ["x"]), () => probe.broadcast("a", "m"), () => revoke(probe, "x"),
]) {
  const result = call();
  promises ||= typeof result?.then === "function";
  await result;
  await setImmediate();
}

const has = (call) => call in Registry.prototype;
const policies = ["send_failure", "delivery", "full_scope", "empty_channels", "order", "reentrancy"];
const said = policies.filter((key) => keys[key]).map((key) => [key, keys[key]]);
export const hello = {
  type: "hello", protocol: 1, name: place ?? "registry.mjs", language: "javascript",
  profiles: ["core", cap && "scope_cap", has("begin") && "admission", awaits.send && "threads"].filter(Boolean),
  features: [has("count") && "count", has("shutdown") && "shutdown", !single && "groups", !place && "reasons"].filter(Boolean),
  policies: { lanes: "tasks", ...(place ? {} : { order: "total" }), ...Object.fromEntries(said) },
};
/** How many turns of the event loop a delivery may take that nobody waits for. */
export const turns = keys.delivery === "async" ? 20 : 0;
