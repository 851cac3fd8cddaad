// How a registry is called. An adapter for one registry needs a tenth of this: it knows the names; this has to guess.
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
const { call: style, cap = place ? undefined : "cap", ...policies } = keys;
const module = await import(place ? pathToFileURL(place).href : "./registry.mjs");
const name = words.find((word) => !word.includes("="));
const Registry = name ? module[name] : Object.values(module).find((value) => value?.prototype?.broadcast);
if (!Registry) throw new Error(`${place} exports no ${name ?? "class with a method broadcast"}`);

// A default value ends what `length` counts, so the text decides.
const text = String(Registry.prototype.subscribe).replace(/=\s*(\[\]|\{\})/g, "");
const listed = Registry.prototype.subscribe.length >= 3 || /^[^{]*channels[^{]*,\s*identity/i.test(text);
const positional = style ? style === "positional" : listed;
const single = positional || (/identity/.test(text) && !/groups/.test(text));

/** @param {number} [most] the cap of a scope */
export function construct(most) {
  if (!cap || most === undefined) return new Registry();
  return new Registry(cap === "positional" ? most : { [cap]: most });
}

/** @param {any} target a registry, or a ticket */
export function subscribe(target, stream, channels, scope, groups) {
  if (positional && !target.admit) return target.subscribe(stream, channels, groups[0] ?? scope);
  const named = single ? { identity: groups[0] } : { groups: groups.length ? [...groups] : undefined };
  const some = Object.entries({ channels, scope, ...named }).filter(([, value]) => value !== undefined);
  return (target.admit ?? target.subscribe).call(target, stream, Object.fromEntries(some));
}

/** @param {any} handle what `subscribe` returned */
export const unsubscribe = (handle) =>
  typeof handle === "function" ? handle() : (handle.unsubscribe ?? handle.close).call(handle);
/** @param {any} from a registry @param {string} identity */
export const revoke = (from, identity) => (from.close_by_identity ?? from.closeByIdentity).call(from, identity);
/** @param {any} registry */
export const count = (registry) => (typeof registry.count === "function" ? registry.count() : registry.count);

/** A sink, by all the names that registries have for its calls. */
export function stream(send, close) {
  const take = (...args) => send({ data: payload(args) });
  const end = (reason) => close(typeof reason === "string" ? { reason } : {});
  return { send: take, write: take, writeSSE: take, push: take, enqueue: take, close: end, end };
}

/** Payloads are strings; a registry may hand one over after other things, as `data` of an object, or as JSON. */
function payload(args) {
  const text = args.map((arg) => arg?.data ?? arg).findLast((arg) => typeof arg === "string");
  let decoded;
  try { decoded = JSON.parse(text); } catch { /* it is as it was broadcast */ }
  return typeof decoded === "string" ? decoded : String(text);
}

/** Whether the registry waits for what `send` and `close` return (promises that are watched tell). */
export const awaits = { send: false, close: false };
/** Whether any of its own calls returns a promise. */
export let promises = false;
const watched = (on) => class extends Promise {
  then(...args) { awaits[on] = true; return super.then(...args); }
}.resolve();
const probe = construct(), sink = stream(() => watched("send"), () => watched("close"));
const first = [() => subscribe(probe, sink, ["a"], undefined, ["x"]), () => probe.broadcast("a", "m")];
for (const call of [...first, () => revoke(probe, "x")]) {
  const result = call();
  promises ||= typeof result?.then === "function";
  await result;
  await setImmediate();
}

const has = (method) => method in Registry.prototype && method;
export const hello = {
  type: "hello", protocol: 1, name: place ?? "registry.mjs", language: "javascript",
  profiles: ["core", cap && "scope_cap", has("begin") && "admission", awaits.send && "threads"].filter(Boolean),
  features: [has("count"), has("shutdown"), !single && "groups", !place && "reasons"].filter(Boolean),
  policies: { lanes: "tasks", ...(place ? {} : { order: "total" }), ...policies },
};
export const turns = policies.delivery === "async" ? 20 : 0; // of the event loop, for deliveries nobody waits for
