// Drives the registry of `registry.mjs` for `registry-conform`:  node adapter.mjs
//
// Copy this file for a registry of your own; it is all that a registry takes whose calls return at once.
// With more words it hands over to `drive-module.mjs`, which drives any class:  node adapter.mjs MODULE [CLASS] [KEY=VALUE ...]
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { SubscriberRegistry } from "./registry.mjs";

const HELLO = {
  type: "hello", protocol: 1, name: "registry.mjs", language: "javascript",
  profiles: ["core", "scope_cap", "admission", "directed"],
  features: ["count", "groups", "reasons", "revoke_as", "shutdown"],
  policies: { order: "total" },
};

/** What each operation does; what it returns are fields of `ret`. */
const OPERATIONS = {
  sub: (run, op, registry) => run.subscribe(op, (...args) => registry.subscribe(...args)),
  admit: (run, op) => run.subscribe(op, (...args) => run.tickets[op.ticket].admit(...args)),
  unsub: (run, op) => { run.subs[op.sub](); },
  abandon: (run, op) => { run.tickets[op.ticket].abandon(); },
  begin: (run, op, registry) => { run.tickets[op.ticket] = registry.begin(); },
  cast: (run, op, registry) => {
    if (op.to !== undefined) registry.sendTo(op.to, op.channel, op.data);
    else registry.broadcast(op.channel, op.data);
  },
  revoke: (run, op, registry) => ({
    n: number(op.reason ? registry.close_by_identity_as(op.identity, op.reason) : registry.close_by_identity(op.identity)),
  }),
  count: (run, op, registry) => ({ n: number(registry.count) }),
  shutdown: (run, op, registry) => { registry.shutdown(); },
  settle: () => {}, // a broadcast delivers before it returns
};

/** What is no number is an error of the registry's, and is told as one that it threw. */
function number(value) {
  if (Number.isInteger(value)) return value;
  throw new TypeError(`${value} is no number of subscribers`);
}

/** One script on a fresh registry. */
class Run {
  events = []; registries = {}; streams = {}; subs = {}; tickets = {}; calls = {};
  constructor({ id, script, fuel }) { Object.assign(this, { id, script, fuel }); }

  log(e, fields) { this.events.push({ e, ...fields }); }
  answer() { write({ type: "trace", id: this.id, events: this.events }); }
  registry(number = 0) { return this.registries[number] ??= new SubscriberRegistry({ cap: this.script.cap }); }

  whole() {
    try { this.registry(); } catch (error) { this.log("unbuilt", { error: String(error) }); return this.answer(); }
    for (const op of this.script.steps) this.step(op);
    if (this.need) write({ type: "unsupported", id: this.id, need: this.need });
    else this.answer();
  }

  step(op) {
    // Kept for the end of the script: thrown, it would go to the registry if this is called from inside a sink.
    if (!Object.hasOwn(OPERATIONS, op.op)) { this.need = `the operation ${op.op}`; return; }
    if (op.op === "unsub" && !Object.hasOwn(this.subs, op.sub)) return;
    if ((op.op === "admit" || op.op === "abandon") && !Object.hasOwn(this.tickets, op.ticket)) return;
    this.log("call", { op: op.id });
    try {
      const done = OPERATIONS[op.op](this, op, this.registry(op.registry));
      this.log("ret", { op: op.id, ...done });
    } catch (error) { this.log("err", { op: op.id, error: String(error) }); }
  }

  subscribe(op, call) {
    const channels = op.channels && [...op.channels]; // fresh for each call, as it is written over
    const handle = call(this.stream(op.sink), { channels, scope: op.scope, groups: op.groups });
    if (op.overwrite !== undefined) channels?.fill(op.overwrite).push(op.overwrite);
    if (handle === null) return { refused: true };
    this.subs[op.sub] = handle;
  }

  /** The same object for the same number: the same sink twice is a test. */
  stream(number) {
    return this.streams[number] ??= {
      send: (data) => this.called(number, "send", "sent", { data }),
      close: (reason) => this.called(number, "close", "closed", { reason }),
    };
  }

  called(sink, on, after, fields) {
    this.log(on, { sink, ...fields });
    if (--this.fuel < 0) { this.log("fuel"); this.answer(); process.exit(0); }
    const nth = this.calls[on + sink] = (this.calls[on + sink] ?? 0) + 1;
    const rule = this.script.sinks?.[sink]?.rules.find((rule) => rule.on === on && rule.nth === nth);
    for (const op of rule?.do ?? []) this.step(op); // from inside the registry's call: that is a test
    const threw = rule?.then === "throw" || rule?.then === "fail";
    this.log(after, { sink, threw });
    if (threw) throw new Error("the script says so");
  }
}

/** One line, whole, before it returns; a pipe that is full says EAGAIN. */
function write(message) {
  let rest = Buffer.from(JSON.stringify(message) + "\n");
  while (rest.length > 0) {
    try { rest = rest.subarray(writeSync(1, rest)); } catch (error) { if (error.code !== "EAGAIN") throw error; }
  }
}

if (process.argv.length > 2) await import("./drive-module.mjs");
else for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.type === "hello") write(HELLO);
  if (request.type === "run") new Run(request).whole();
  if (request.type === "bye") break;
}
