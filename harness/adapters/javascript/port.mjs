// How the class is called, as the words of the command line say:  MODULE [CLASS] [KEY=VALUE ...]
//
// CLASS is the name of an export; without it, the default one. The class has
//   subscribe, in one of the two shapes below, which returns a function that unsubscribes, or an object
//   that has `unsubscribe` or `close`, or null to refuse;
//   broadcast(channel, data);
//   close_by_identity(identity), or closeByIdentity, which returns how many it closed;
//   and may have close_by_identity_as(identity, reason), or closeByIdentityAs, and then gives the reason
//   of every end to `close`; sendTo(identity, channel, data), or send_to; and count, begin and shutdown.
//
// The two shapes of `subscribe`, and of the `admit` of a ticket:
//   call=positional  subscribe(stream, channels, identity); this is the default
//   call=options     subscribe(stream, { channels, identity, scope })
//
// Options:
//   identity=NAME    the option that takes the identity; implies call=options
//   identities=NAME  the option that takes a list of identities; implies call=options
//   cap=NAME         the constructor's option that caps a scope; cap=positional: its first argument
//   refused=NAME     the `name` of the error that means that a ticket was refused
//   returns=promises the calls return promises
//   awaits=sinks     the calls return promises, and wait for those of `stream`
// and the policies of PROTOCOL.md, such as send_failure=keep or delivery=async.
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";

// What the module prints must not get between the adapter's lines, and a promise that nobody awaits must not end the adapter.
Object.defineProperty(process, "stdout", { value: process.stderr });
process.on("unhandledRejection", (error) => console.error("nobody awaited:", error));

const [place, ...words] = process.argv.slice(2);
const name = words.find((word) => !word.includes("=")) ?? "default";
const keys = Object.fromEntries(words.filter((word) => word.includes("=")).map((word) => word.split("=")));
const { call, identity, identities, cap, refused, returns, awaits: awaited, ...policies } = keys;
const options = call === "options" || identity !== undefined || identities !== undefined;
const Registry = (await import(pathToFileURL(place).href))[name];
if (!Registry) throw new Error(`${place} has no export ${name}`);

export const awaits = awaited === "sinks";
export const promises = awaits || returns === "promises";

/** @param {number} [most] the cap of a scope */
export function construct(most) {
  if (!cap || most === undefined) return new Registry();
  return new Registry(cap === "positional" ? most : { [cap]: most });
}

/** @param {(...args: any[]) => any} subscribe of a registry, or `admit` of a ticket */
export function subscribe(subscribe, stream, channels, groups, scope) {
  if (!options) return subscribe(stream, channels, groups[0] ?? scope);
  const given = {};
  if (channels) given.channels = channels;
  if (scope !== undefined) given.scope = scope;
  if (groups.length > 0) given[identities ?? identity ?? "identity"] = identities ? [...groups] : groups[0];
  return subscribe(stream, given);
}

function invoke(target, names, ...args) {
  const name = names.find((name) => typeof target[name] === "function");
  if (name === undefined) throw new TypeError(`there is no ${names.join(" and no ")}`);
  return target[name](...args);
}
export const unsubscribe = (handle) =>
  typeof handle === "function" ? handle() : invoke(handle, ["unsubscribe", "close"]);
const named = ["close_by_identity_as", "closeByIdentityAs"];
export const revoke = (registry, identity, reason) =>
  reason ? invoke(registry, named, identity, reason) : invoke(registry, ["close_by_identity", "closeByIdentity"], identity);
const directed = ["sendTo", "send_to"];
export const publish = (registry, { to, channel, data }) =>
  to === undefined ? registry.broadcast(channel, data) : invoke(registry, directed, to, channel, data);
export const count = (registry) => (typeof registry.count === "function" ? registry.count() : registry.count);

/** Anything but a number of subscribers is an error of the registry's, and is told as one that it threw. */
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

let sample = Registry.prototype ?? {};
try { sample = construct(); } catch (error) { console.error(`new ${Registry.name}() threw`, error); }
export const hello = {
  type: "hello", protocol: 1, name: place, language: "javascript",
  profiles: ["core", cap && "scope_cap", "begin" in sample && "admission", awaits && "threads",
    directed.some((name) => name in sample) && "directed"].filter(Boolean),
  features: [
    "count" in sample && "count", "shutdown" in sample && "shutdown", identities && "groups",
    ...(named.some((name) => name in sample) ? ["reasons", "revoke_as"] : []),
  ].filter(Boolean),
  policies: { lanes: "tasks", ...policies },
};
export const turns = policies.delivery === "async" ? 20 : 0; // of the event loop, for deliveries nobody waits for
