// How a class wants to be called. An adapter for one registry needs a tenth of this: it knows; this has to find out.
//
// The class has
//   subscribe(stream, channels, identity), or subscribe(stream, options) with channels and identity, identities or groups;
//   it returns a function that unsubscribes, or an object that has `unsubscribe` or `close`, or null to refuse;
//   broadcast(channel, data); close_by_identity(identity), or closeByIdentity, which returns how many it closed;
//   and may have close_by_identity_as(identity, reason), or closeByIdentityAs, and then gives `close` the reason of every end;
//   and may have count, begin and shutdown. Any of them may return a promise, and may wait for those of `stream`.
//
// Ways to subscribe are tried on fresh registries (`probe.mjs`), and the first that works is taken. Keys say what cannot be
// found out, or not rightly: call=positional|options; identity=NAME (the option that takes the identity); cap=NAME (the
// constructor's option that caps a scope; cap=positional: its first argument); refused=NAME (the `name` of the error that
// means that a ticket was refused); and the policies of PROTOCOL.md, such as send_failure=keep or delivery=async.
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import { probe } from "./probe.mjs";

// What the module prints must not get between our lines, and what it forgets to catch must not end us.
Object.defineProperty(process, "stdout", { value: process.stderr });
process.on("unhandledRejection", (error) => console.error("nobody awaited:", error));

const [place, ...words] = process.argv.slice(2);
const keys = Object.fromEntries(words.filter((word) => word.includes("=")).map((word) => word.split("=")));
const { call, identity, cap, refused, ...policies } = keys;
const module = await import(pathToFileURL(place).href);
const name = words.find((word) => !word.includes("="));
const Registry = name ? module[name] : [module.default, ...Object.values(module)].find(isRegistry);
if (!Registry) throw new Error(`${place} exports no ${name ?? "class with a method broadcast"}`);

/** Methods may be fields, which only an instance has. */
function isRegistry(value) {
  try { return "broadcast" in value.prototype || "broadcast" in new value(); } catch { return false; }
}

/** @param {number} [most] the cap of a scope */
export function construct(most) {
  if (cap && most !== undefined) return new Registry(cap === "positional" ? most : { [cap]: most });
  try { return new Registry(); } catch { return new Registry({}); } // some want options, if only empty ones
}

/** A way to subscribe: what follows the stream, and whether a subscriber may have several identities. */
const positional = { name: "positional", several: false, arguments: (channels, groups, scope) => [channels, groups[0] ?? scope] };
const option = (key, several) => ({
  name: `the option ${key}, ${several ? "a list" : "one name"}`,
  several,
  arguments(channels, groups, scope) {
    const options = {};
    if (channels) options.channels = channels;
    if (scope !== undefined) options.scope = scope;
    if (groups.length > 0) options[key] = several ? [...groups] : groups[0];
    return [options];
  },
});
const lists = identity ? [identity] : ["identities", "groups"];
const singles = identity ? [identity] : ["identity", "user", "userId", "principal", "owner"];
const options = [...lists.map((key) => option(key, true)), ...singles.map((key) => option(key, false))];
const styles = call === "positional" ? [positional] : call === "options" || identity ? options : [positional, ...options];

function invoke(target, names, ...args) {
  const name = names.find((name) => typeof target[name] === "function");
  if (name === undefined) throw new TypeError(`there is no ${names.join(" and no ")}`);
  return target[name](...args);
}
/** @param {(...args: any[]) => any} subscribe of a registry, or `admit` of a ticket */
export const subscribe = (subscribe, stream, channels, groups, scope) =>
  subscribe(stream, ...style.arguments(channels, groups, scope));
export const unsubscribe = (handle) =>
  typeof handle === "function" ? handle() : invoke(handle, ["unsubscribe", "close"]);
const named = ["close_by_identity_as", "closeByIdentityAs"];
export const revoke = (registry, identity, reason) =>
  reason ? invoke(registry, named, identity, reason) : invoke(registry, ["close_by_identity", "closeByIdentity"], identity);
export const count = (registry) => (typeof registry.count === "function" ? registry.count() : registry.count);

/** What is no number of subscribers is an error of the registry's, and is told as one that it threw. */
export function number(of, value) {
  if (Number.isInteger(value) && value >= 0) return value;
  throw new TypeError(`${of} returned ${inspect(value)} and not the number of subscribers`);
}

/** Whether an error says no more than that a subscriber is not taken. */
export const refuses = (error, op) => refused !== undefined && error?.name === refused && (op === "sub" || op === "admit");

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

const { style, awaits, promises, doubt } = await probe(styles, { construct, revoke, stream });
export { awaits, promises };

let sample = Registry.prototype ?? {};
try { sample = construct(); } catch (error) { console.error(`new ${Registry.name}() threw`, error); }
export const hello = {
  type: "hello", protocol: 1, name: place, version: doubt && `(${doubt})`, language: "javascript",
  profiles: ["core", cap && "scope_cap", "begin" in sample && "admission", awaits.send && "threads"].filter(Boolean),
  features: [
    "count" in sample && "count", "shutdown" in sample && "shutdown", style.several && "groups",
    ...(named.some((name) => name in sample) ? ["reasons", "revoke_as"] : []),
  ].filter(Boolean),
  policies: { lanes: "tasks", ...policies },
};
export const turns = policies.delivery === "async" ? 20 : 0; // of the event loop, for deliveries nobody waits for
